// The tables, each from the part of a snapshot that it shows.

const ACTIONS = { accept: "good", answer: "good", drop: "bad", reject: "bad" };

/** What in the end of a request is bad news. */
const BAD = /^(5xx|failed|error|login_failed|refused|servfail|formerr|reset_out)$/;
const DUBIOUS = /^(4xx|nxdomain|reset_in|notimp|notauth|notzone|unknown)$/;

const services = new Rows(byId("services"), (row) => {
  const head = add(row, "th");
  head.scope = "row";
  const parts = { name: add(head, "span", "title"), about: add(head, "span", "about"), notes: add(head, "span", "notes") };
  parts.now = add(row, "td", "right strong");
  const picture = document.createElementNS(SVG, "svg");
  for (const [name, value] of [["class", "picture"], ["viewBox", "0 0 120 24"], ["preserveAspectRatio", "none"], ["role", "img"]]) {
    picture.setAttribute(name, value);
  }
  add(row, "td", "last").append(picture);
  parts.curve = curve(picture);
  parts.minute = add(row, "td", "right broad");
  parts.total = add(row, "td", "right broad");
  parts.median = add(row, "td", "right broad");
  parts.p99 = add(row, "td", "right");
  parts.ended = add(row, "td", "broad ended");
  return parts;
});

/** Requests in each of the last seconds, by service. */
const histories = new Map();

function serviceKey(service) {
  return [service.service, service.port, service.protocol].join("\n");
}

/** Goes on with the seconds that are known, if the daemon has told the last one alone. */
function remember(service) {
  const known = histories.get(serviceKey(service));
  const goesOn = service.each_second.length === 1 && known !== undefined;
  const seconds = goesOn ? [...known, ...service.each_second].slice(-SECONDS) : service.each_second;
  histories.set(serviceKey(service), seconds);
  return seconds;
}

function showServices(snapshot) {
  const keys = new Set(snapshot.services.map(serviceKey));
  for (const key of [...histories.keys()].filter((key) => !keys.has(key))) histories.delete(key);
  const cookies = new Map(snapshot.syn_cookies.map((syn) => [syn.service + "\n" + syn.port, syn]));
  services.show(snapshot.services, serviceKey, (parts, service, row) => {
    const [now, , minute] = service.per_second;
    row.className = service.total === 0 ? "idle" : "";
    write(parts.name, service.service);
    write(parts.about, `${service.port} ${service.protocol}, ${service.what}`);
    write(parts.now, rate(now));
    draw(parts.curve, remember(service), service.what);
    write(parts.minute, rate(minute));
    write(parts.total, service.total);
    write(parts.median, time(service.median_seconds));
    write(parts.p99, time(service.p99_seconds));
    showEnded(parts.ended, service.outcomes_per_second);
    const syn = cookies.get(service.service + "\n" + service.port);
    const notes = [];
    if (service.framing_lost > 0) notes.push(`${service.framing_lost} times lost`);
    if (syn !== undefined && syn.active) notes.push(`SYN cookies: ${packets(syn.answered_per_second)}/s answered`);
    // Where there is no room for how requests ended, what is bad is said.
    const bad = Object.entries(service.outcomes_per_second).filter(([word, count]) => BAD.test(word) && count > 0);
    write(parts.notes, notes.join("; "));
    parts.notes.dataset.ended = bad.map(([word, count]) => `${word.replaceAll("_", " ")} ${rate(count)}/s`).join(", ");
  });
  byId("no-services").hidden = snapshot.services.length > 0;
}

/** How requests ended: a word and how many for each way that there was of late. */
function showEnded(cell, outcomes) {
  const some = Object.entries(outcomes).filter(([, count]) => count > 0);
  const text = some.map(([word, count]) => `${word} ${rate(count)}`).join(" ");
  if (cell.dataset.shown === text) return;
  cell.dataset.shown = text;
  cell.replaceChildren();
  for (const [word, count] of some) {
    const kind = BAD.test(word) ? "bad" : DUBIOUS.test(word) ? "dubious" : "";
    const part = add(cell, "span", "outcome " + kind);
    add(part, "span", "word", word.replaceAll("_", " "));
    add(part, "span", "", rate(count));
  }
}

const verdicts = new Rows(byId("verdicts"), (row) => {
  const head = add(row, "th");
  head.scope = "row";
  return { action: add(head, "span"), reason: add(head, "span"), now: add(row, "td", "right"), total: add(row, "td", "right") };
});

/** A row for each verdict, and below it one for each of its reasons. */
function showVerdicts(snapshot) {
  const rows = [];
  for (const action of ["accept", "answer", "reject", "drop"]) {
    const reasons = snapshot.verdicts.filter((one) => one.action === action && one.packets > 0);
    if (reasons.length === 0 && !["accept", "drop"].includes(action)) continue;
    rows.push({
      action,
      packets: sum(reasons.map((one) => one.packets)),
      packets_per_second: sum(reasons.map((one) => one.packets_per_second)),
    });
    // In the order of what they are in all, so that rows stand still.
    rows.push(...reasons.sort((one, other) => other.packets - one.packets));
  }
  const key = (one) => [one.action, one.reason, one.direction].join("\n");
  verdicts.show(rows, key, (parts, one, row) => {
    const isSum = one.reason === undefined;
    row.className = isSum ? "sum" : "part";
    parts.action.className = isSum ? "action " + ACTIONS[one.action] : "";
    write(parts.action, isSum ? one.action : "");
    write(parts.reason, isSum ? "" : `${one.reason.replaceAll("_", " ")} ${one.direction}`);
    write(parts.now, packets(one.packets_per_second));
    write(parts.total, one.packets);
  });
}

const interfaces = new Rows(byId("interfaces"), (row) => {
  const head = add(row, "th");
  head.scope = "row";
  const parts = { name: add(head, "span", "title"), about: add(head, "span", "about") };
  for (const name of ["now", "bits"]) parts[name] = add(row, "td", "right");
  for (const name of ["packets", "bytes"]) parts[name] = add(row, "td", "right broad");
  return parts;
});

function showInterfaces(snapshot) {
  const attached = new Map(snapshot.attached.map((one) => [one.interface, one]));
  interfaces.show(snapshot.interfaces, (one) => one.interface + "\n" + one.direction, (parts, one) => {
    const { mode, why } = attached.get(one.interface) ?? { mode: "", why: null };
    write(parts.name, `${one.interface} ${one.direction}`);
    write(parts.about, mode ?? "not attached");
    parts.about.title = why ?? "";
    write(parts.now, packets(one.packets_per_second));
    write(parts.bits, bits(8 * one.bytes_per_second));
    write(parts.packets, one.packets);
    write(parts.bytes, bytes(one.bytes));
  });
}

const rules = new Rows(byId("rules"), (row) => {
  const parts = { place: add(row, "td", "right place") };
  parts.rule = add(row, "th");
  parts.rule.scope = "row";
  parts.action = add(add(row, "td"), "span");
  parts.now = add(row, "td", "right");
  parts.total = add(row, "td", "right");
  return parts;
});

/** By what rules are in order, and whether the least comes first. */
let order = { key: "packets", ascending: false };
let lastRules = { count: 0, hit: 0, shown: [] };

function compareRules(one, other) {
  const { key, ascending } = order;
  const [a, b] = [one[key] ?? "", other[key] ?? ""];
  const way = typeof a === "string" ? String(a).localeCompare(String(b)) : a - b;
  // Where they are the same, in the order of the rules.
  return (ascending ? way : -way) || (one.place ?? 0) - (other.place ?? 0);
}

function showRules(given) {
  lastRules = given;
  const { count, hit, shown } = given;
  rules.show([...shown].sort(compareRules), (one) => one.rule, (parts, one, row) => {
    row.className = one.packets === 0 ? "idle" : "";
    write(parts.place, one.place ?? "");
    write(parts.rule, one.rule);
    write(parts.action, one.action ?? "");
    parts.action.className = "action " + (ACTIONS[one.action] ?? "");
    write(parts.now, packets(one.packets_per_second));
    write(parts.total, one.packets);
  });
  const left = count - shown.length;
  const more = byId("more-rules");
  more.hidden = count > 0 && left <= 0;
  write(more, count === 0 ? "No rules: the policy decides." : `The busiest ${shown.length} of ${count} rules, of which ${hit} have decided something.`);
}

function sortBy(key) {
  const ascending = order.key === key ? !order.ascending : ["place", "rule", "action"].includes(key);
  order = { key, ascending };
  for (const button of byId("rules-head").querySelectorAll("button")) {
    const head = button.parentElement;
    if (button.dataset.key === key) {
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    } else {
      head.removeAttribute("aria-sort");
    }
  }
  showRules(lastRules);
}

for (const button of byId("rules-head").querySelectorAll("button")) {
  button.addEventListener("click", () => sortBy(button.dataset.key));
}
