// What the daemon tells, as it comes, and what is said while it tells nothing.

/** After so many milliseconds without news there is no connection. */
const PATIENCE = 5_000;
/** After so many a page that was refused asks again. */
const RETRY = 5_000;

const total = curve(byId("requests-picture"));
const opened = new Date();
let lastNews = null;
let refusal = "";
let trouble = "";
let notices = [];

function show(snapshot) {
  const { host, version, hash, generation } = snapshot;
  write(byId("host"), host || "foobar");
  const ready = snapshot.not_ready.length === 0;
  write(byId("ready"), ready ? "ready" : "NOT READY");
  byId("ready").className = "state " + (ready ? "good" : "bad");
  const modes = snapshot.attached.map((one) => `${one.interface} ${one.mode ?? "not attached"}`);
  write(byId("about"), [`ruleset ${hash.slice(0, 12)}`, `generation ${generation}`, ...modes].join(" · "));
  write(byId("version"), `foobar ${version}`);
  write(byId("ruleset"), hash);
  notices = snapshot.not_ready.map((why) => ["bad", why]);
  if (snapshot.taken_back_in !== null) {
    notices.push(["dubious", `The rules are not confirmed: they are taken back within ${10 * Math.ceil(snapshot.taken_back_in / 10)} s.`]);
  }
  if (snapshot.lost > 0) {
    notices.push(["dubious", `${snapshot.lost} times a connection could not be followed to its end: what came after is not counted in requests.`]);
  }
  showServices(snapshot);
  showTiles(snapshot);
  showVerdicts(snapshot);
  showInterfaces(snapshot);
  showRules(snapshot.rules);
  byId("main").classList.remove("waits");
}

function showTiles(snapshot) {
  const { requests_per_second: requests } = snapshot;
  write(byId("requests"), rate(requests));
  document.title = `${rate(requests)} requests/s – ${snapshot.host || "foobar"}`;
  const asked = snapshot.services.filter(({ what }) => what === "requests" || what === "queries");
  const seconds = asked.map((service) => histories.get(serviceKey(service)));
  const longest = Math.max(0, ...seconds.map((one) => one.length));
  const all = Array.from({ length: longest }, (_, ago) => sum(seconds.map((one) => one[one.length - 1 - ago] ?? 0)));
  draw(total, all.reverse(), "requests");
  for (const direction of ["in", "out"]) {
    const those = snapshot.interfaces.filter((one) => one.direction === direction);
    write(byId(direction + "-packets"), packets(sum(those.map((one) => one.packets_per_second))));
    write(byId(direction + "-bits"), bits(8 * sum(those.map((one) => one.bytes_per_second))));
  }
  const of = (actions) =>
    sum(snapshot.verdicts.filter((one) => actions.includes(one.action)).map((one) => one.packets_per_second));
  const [dropped, passed] = [of(["drop", "reject"]), of(["accept", "answer"])];
  write(byId("dropped"), packets(dropped));
  const part = dropped + passed > 0 ? (100 * dropped) / (dropped + passed) : 0;
  write(byId("dropped-part"), `${part.toFixed(1)} % of packets`);
  write(byId("connections"), snapshot.connections ?? "–");
  write(byId("bans"), snapshot.bans);
}

/** Says whether numbers are of now, and what is not as it should be. */
function showConnection() {
  const live = lastNews !== null && Date.now() - lastNews < PATIENCE;
  const connection = byId("connection");
  const waits = lastNews === null && refusal === "" && Date.now() - opened < PATIENCE;
  const since = clock(lastNews ?? opened);
  write(connection, live ? "live" : waits ? "connecting" : `no connection since ${since}`);
  connection.className = "connection " + (live ? "good" : waits ? "" : "bad");
  document.body.classList.toggle("stale", !live && !waits);
  const all = [...notices];
  if (!live && !waits) document.title = `no connection since ${since} – ${byId("host").textContent}`;
  if (refusal !== "") all.unshift(["bad", refusal]);
  if (trouble !== "") all.unshift(["dubious", trouble]);
  const text = JSON.stringify(all);
  const shown = byId("notices");
  if (shown.dataset.shown === text) return;
  shown.dataset.shown = text;
  shown.replaceChildren();
  for (const [kind, words] of all) add(shown, "p", "notice " + kind, words);
}

/** Loads the page of the daemon that answers, if it is another one; not again and again, should something keep the old one. */
function renew(page) {
  if (page === document.documentElement.dataset.page) return;
  const asked = sessionStorage.getItem("asked");
  if (asked === page) return;
  sessionStorage.setItem("asked", page);
  location.reload();
}

function listen() {
  const source = new EventSource("events");
  source.addEventListener("message", (message) => {
    const snapshot = JSON.parse(message.data);
    renew(snapshot.page);
    [lastNews, refusal, trouble] = [new Date(), "", ""];
    show(snapshot);
    showConnection();
  });
  source.addEventListener("trouble", (message) => {
    trouble = message.data;
    showConnection();
  });
  source.addEventListener("error", () => {
    // A browser asks again by itself, unless it was refused.
    if (source.readyState === EventSource.CLOSED) askWhy();
    showConnection();
  });
}

/** Learns why it was refused, which a browser does not tell of events, and asks again later. */
async function askWhy() {
  const ends = new AbortController();
  try {
    const answer = await fetch("events", { signal: ends.signal, cache: "no-store" });
    refusal = answer.ok ? "" : (await answer.text()).trim() || `the daemon answers ${answer.status}`;
  } catch {
    refusal = "";
  }
  ends.abort();
  showConnection();
  setTimeout(listen, RETRY);
}

setInterval(showConnection, 1_000);
listen();
