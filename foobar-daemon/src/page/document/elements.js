// Putting things on the page. Whatever comes from the daemon goes in as text.

function byId(id) {
  return document.getElementById(id);
}

/** Sets a text, if it is another one: what stands still can be marked and copied. */
function write(element, text) {
  text = String(text);
  if (element.textContent !== text) element.textContent = text;
}

/** Adds an element with classes, and gives it. */
function add(parent, tag, classes, text) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

/** The rows of a table, each under a key that it keeps as long as it is there. */
class Rows {
  constructor(body, make) {
    this.body = body;
    this.make = make;
    this.rows = new Map();
  }

  /** Shows these items in this order; `update` puts one into what `make` has made of its row. */
  show(items, key, update) {
    const left = new Set(this.rows.keys());
    let next = this.body.firstElementChild;
    for (const item of items) {
      const name = key(item);
      left.delete(name);
      let row = this.rows.get(name);
      if (row === undefined) {
        const element = document.createElement("tr");
        row = { element, parts: this.make(element) };
        this.rows.set(name, row);
      }
      update(row.parts, item, row.element);
      if (row.element === next) {
        next = next.nextElementSibling;
      } else {
        this.body.insertBefore(row.element, next);
      }
    }
    for (const name of left) {
      this.rows.get(name).element.remove();
      this.rows.delete(name);
    }
  }
}

const SVG = "http://www.w3.org/2000/svg";

/** Makes room for a curve in a picture. */
function curve(picture) {
  const area = document.createElementNS(SVG, "path");
  area.setAttribute("class", "area");
  const line = document.createElementNS(SVG, "polyline");
  line.setAttribute("class", "line");
  line.setAttribute("vector-effect", "non-scaling-stroke");
  picture.replaceChildren(area, line);
  return { picture, area, line };
}

/** Draws the last seconds into a curve, the newest at its right. */
function draw({ picture, area, line }, eachSecond, what) {
  const { width, height } = picture.viewBox.baseVal;
  const highest = Math.max(...eachSecond, 0);
  const left = width - Math.max(eachSecond.length - 1, 0) * (width / (SECONDS - 1));
  const points = eachSecond.map((value, second) => {
    const x = left + second * (width / (SECONDS - 1));
    // With room above: a load that stands still is no edge.
    const y = height - 1 - (highest > 0 ? (value / highest) * 0.85 * height : 0);
    return x.toFixed(1) + "," + y.toFixed(1);
  });
  line.setAttribute("points", points.join(" "));
  const edge = points.length > 0 ? `M${left.toFixed(1)},${height} L${points.join(" L")} L${width},${height} Z` : "";
  area.setAttribute("d", edge);
  picture.setAttribute("aria-label", `${what} in the last two minutes: at most ${rate(highest)} in a second`);
}

/** Over how many seconds a curve goes. */
const SECONDS = 120;
