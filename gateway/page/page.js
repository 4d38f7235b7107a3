// The live page of a gateway: it reads /events, keeps one picture of what it was told, and draws that.
// Text from the server only ever becomes text: nothing here makes markup of a string.

const RATE_SECONDS = 300, COLUMN = 5, SPAN_SECONDS = 900, SHOWN_ROWS = 200;
const SILENT_AFTER = 25_000, SLOWEST_RETRY = 15_000;
const NAMES = {
  agents: ["name"],
  endpoints: ["name"],
  circuits: ["key"],
  credentials: ["endpoint"],
  latencies: ["agent", "transport", "model"],
};
const SERIES = ["agent", "transport", "model", "outcome"];
const KEPT = { handovers: 200, failures: 50 };
const STATES = {
  closed: "closed",
  half_open: "half-open",
  open: "open",
  held: "held",
  forced_open: "forced open",
  forced_closed: "forced closed",
};
const MARKS = {
  closed: "M6 1a5 5 0 1 0 0 10A5 5 0 1 0 6 1",
  half_open: "M6 1a5 5 0 1 0 0 10zM6 1a5 5 0 0 1 0 10V9.6a3.6 3.6 0 0 0 0-7.2z",
  open: "M2.6 1 6 4.4 9.4 1 11 2.6 7.6 6 11 9.4 9.4 11 6 7.6 2.6 11 1 9.4 4.4 6 1 2.6z",
  held: "M2 1h3v10H2zM7 1h3v10H7z",
  forced_open: "M6 .5 11.5 6 6 11.5.5 6z",
  forced_closed: "M6 .5 11.5 6 6 11.5.5 6z",
};

const $ = (id) => document.getElementById(id);
const nameOf = (row, names) => names.map((name) => row[name]).join("\n");

// ---- elements -------------------------------------------------------------------------------------------------------

function el(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// One element per row, kept while its row is there: focus, open details and scrolling survive every update.
function keyed(parent, rows, keyOf, make, fill) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = null;
  for (const row of rows) {
    const key = keyOf(row);
    let child = known.get(key);
    if (child) known.delete(key);
    else {
      child = make(row);
      child.dataset.key = key;
    }
    fill(child, row);
    const next = place ? place.nextSibling : parent.firstChild;
    if (next !== child) parent.insertBefore(child, next);
    place = child;
  }
  for (const gone of known.values()) gone.remove();
}

function mark(state) {
  return svg("svg", { class: `mark ${state}`, viewBox: "0 0 12 12", "aria-hidden": "true" },
    svg("path", { d: MARKS[state] ?? MARKS.closed, fill: "currentColor" }));
}

function putMark(old, state) {
  if (old.classList.contains(state)) return;
  old.replaceWith(mark(state));
}

// ---- words ----------------------------------------------------------------------------------------------------------

function took(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  return seconds < 99.95 ? `${seconds.toFixed(seconds < 9.995 ? 2 : 1)} s` : span(seconds);
}

function span(seconds) {
  const whole = Math.max(Math.round(seconds), 0);
  if (whole < 90) return `${whole} s`;
  if (whole < 5400) return `${Math.round(whole / 60)} min`;
  if (whole < 172800) return `${Math.round(whole / 3600)} h`;
  return `${Math.round(whole / 86400)} days`;
}

const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false });
const perSecond = (number) => (number >= 9.95 ? number.toFixed(0) : number.toFixed(1));
const routeName = (route) => `${route.transport}/${route.model}`;
const many = (count, one, more) => `${count.toLocaleString("en")} ${count === 1 ? one : more}`;

// ---- what we were told ----------------------------------------------------------------------------------------------

let picture = null, heardAt = 0, lastHandover = 0;
const now = () => picture.now + (performance.now() - heardAt) / 1000;
const secondNow = () => picture.second + Math.floor(now() - picture.now);

function take(kind, value) {
  const isFirst = picture === null;
  if (kind === "snapshot") picture = value;
  else if (kind === "update" && picture) picture = merged(picture, value);
  else return;
  heardAt = performance.now();
  const newest = picture.handovers.at(-1)?.number ?? 0;
  if (!isFirst && newest > lastHandover) announce(picture.handovers.filter((row) => row.number > lastHandover));
  lastHandover = newest;
  draw();
}

function merged(whole, update) {
  const result = { ...whole };
  for (const [name, value] of Object.entries(update)) {
    if (name in NAMES) {
      const rows = new Map(whole[name].map((row) => [nameOf(row, NAMES[name]), row]));
      for (const row of value) rows.set(nameOf(row, NAMES[name]), row);
      result[name] = [...rows.values()];
    } else if (name in KEPT) result[name] = [...whole[name], ...value].slice(-KEPT[name]);
    else if (name !== "rates") result[name] = value;
  }
  result.rates = moved(whole.rates, update.second - whole.second, update.rates ?? { seconds: 1, series: [] });
  return result;
}

function moved(before, passed, told) {
  const rows = new Map(before.series.map((row) => [nameOf(row, SERIES), { ...row, counts: later(row.counts, passed) }]));
  for (const row of told.series) {
    const counts = rows.get(nameOf(row, SERIES))?.counts ?? new Array(RATE_SECONDS).fill(0);
    rows.set(nameOf(row, SERIES), { ...row, counts: [...counts.slice(0, RATE_SECONDS - told.seconds), ...row.counts] });
  }
  return { seconds: RATE_SECONDS, series: [...rows.values()].filter((row) => row.counts.some(Boolean)) };
}

function later(counts, passed) {
  if (passed <= 0) return counts;
  return [...counts, ...new Array(Math.min(passed, RATE_SECONDS)).fill(0)].slice(-RATE_SECONDS);
}

function announce(rows) {
  const said = rows.slice(-3).map((row) => row.kind === "returned"
    ? `${row.agent} is back with ${row.to}.` : `${row.agent} was handed over from ${row.from} to ${row.to}.`);
  say($("news"), said.join(" "));
}

// ---- drawing --------------------------------------------------------------------------------------------------------

let isDrawing = false;

function draw() {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    if (!picture) return;
    $("enter").hidden = true;
    $("board").hidden = false;
    const byRoute = served();
    drawTop();
    drawTiles(byRoute);
    drawAgents();
    drawChart(byRoute);
    drawCircuits();
    drawHandovers();
    drawLatencies();
    drawFailures();
    drawEndpoints();
  });
}

function drawTop() {
  say($("about"), `${picture.version} · up ${span(now() - picture.started_at)}`);
}

// Requests per second by route over all agents, in the order of the configuration; what failed comes last.
function served() {
  const passed = Math.max(secondNow() - picture.second, 0), found = new Map();
  for (const agent of picture.agents) {
    for (const [place, route] of agent.routes.entries()) {
      const name = routeName(route);
      if (!found.has(name)) found.set(name, { name, color: `s${Math.min(found.size, 6)}`, counts: null, asFallback: 0 });
      if (place === 0) continue;
      const row = picture.rates.series.find((series) => series.agent === agent.name && routeName(series) === name);
      if (row) found.get(name).asFallback += row.counts.reduce((sum, count) => sum + count, 0);
    }
  }
  found.set("failed", { name: "failed", color: "failed", counts: null, asFallback: 0 });
  for (const row of picture.rates.series) {
    if (row.outcome === "left") continue;
    const name = row.outcome === "failed" ? "failed" : routeName(row);
    if (!found.has(name)) found.set(name, { name, color: "s6", counts: null, asFallback: 0 });
    const sums = found.get(name), counts = later(row.counts, passed);
    sums.counts = sums.counts ? sums.counts.map((count, place) => count + counts[place]) : [...counts];
  }
  return [...found.values()];
}

const sum = (counts) => (counts ?? []).reduce((whole, count) => whole + count, 0);
const recent = (counts, seconds = 10) => sum((counts ?? []).slice(-seconds - 1, -1)) / seconds;

function tile(id, value, note, tone = "") {
  say($(id), value);
  $(id).className = tone;
  say($(`${id}-note`), note);
}

function drawTiles(byRoute) {
  const failed = sum(byRoute.find((row) => row.name === "failed").counts);
  const every = byRoute.reduce((whole, row) => whole + sum(row.counts), 0);
  const rate = byRoute.reduce((whole, row) => whole + recent(row.counts), 0);
  const fallback = byRoute.reduce((whole, row) => whole + row.asFallback, 0);
  const notClosed = picture.circuits.filter((circuit) => circuit.state !== "closed");
  const flight = picture.endpoints.reduce((whole, row) => whole + row.in_flight, 0);
  const waiting = picture.endpoints.reduce((whole, row) => whole + row.waiting, 0);
  const share = every ? (100 * fallback) / every : 0;
  tile("t-rate", `${perSecond(rate)}/s`, `${many(picture.totals.requests, "request", "requests")} since it began`);
  tile("t-fallback", `${share.toFixed(share > 0 && share < 10 ? 1 : 0)} %`, "of the last 5 minutes", fallback ? "warn" : "");
  tile("t-failed", failed.toLocaleString("en"), "in the last 5 minutes", failed ? "bad" : "");
  tile("t-circuits", notClosed.length ? `${notClosed.length} not closed` : "all closed",
    `of ${picture.circuits.length}`, notClosed.length ? "bad" : "");
  tile("t-flight", flight.toLocaleString("en"), waiting ? `${waiting} wait for a place` : "nobody waits", waiting ? "warn" : "");
}

function drawAgents() {
  const states = new Map(picture.circuits.map((circuit) => [circuit.key, circuit]));
  const worse = (route) => [states.get(route.endpoint), states.get(`credential of ${route.endpoint}`), states.get(route.circuit)]
    .map((circuit) => circuit?.state ?? "closed").find((state) => state !== "closed") ?? "closed";
  keyed($("agents"), picture.agents, (row) => row.name, () => {
    const name = el("div", "agent-name", el("span"), el("small"));
    return el("li", "agent", name, el("ol", "routes"));
  }, (item, row) => {
    const [name, since] = item.firstChild.children;
    say(name, row.name);
    const isAway = row.serving > 0 && row.serving_since;
    say(since, isAway ? `on a fallback for ${span(now() - row.serving_since)}`
      : row.last_answer_at ? `answered ${span(now() - row.last_answer_at)} ago` : "not asked yet");
    keyed(item.lastChild, row.routes.map((route, place) => ({ ...route, place })), (route) => String(route.place), () =>
      el("li", "route", mark("closed"), el("span", "mono"), el("small")), (line, route) => {
      const serves = route.place === row.serving, role = route.place === 0 ? "primary" : "fallback", state = worse(route);
      line.className = `route ${role}${serves ? " serves" : ""}`;
      putMark(line.children[0], state);
      say(line.children[1], routeName(route));
      line.title = `${routeName(route)}, ${route.endpoint}: circuit ${STATES[state]}`;
      const said = state === "closed" ? role : `${role}, ${STATES[state]}`;
      say(line.children[2], serves ? `${said} · serves` : said);
    });
  });
}

function niceTop(highest) {
  const power = 10 ** Math.floor(Math.log10(Math.max(highest, 1)) - 0.3);
  return [1, 2, 4, 6, 8, 10, 12, 16, 20, 30, 40].map((factor) => Math.max(factor * power, 1)).find((top) => top >= highest) ?? highest;
}

// Means over columns of a few seconds, which begin where the clock does, so that columns move and never shimmer.
// The second that is not over yet is left out.
function columns(counts, second) {
  const found = [];
  for (let first = second - RATE_SECONDS + 1; first < second;) {
    const last = Math.min(Math.floor(first / COLUMN + 1) * COLUMN, second), from = first - second + RATE_SECONDS - 1;
    const part = counts.slice(from, from + last - first);
    found.push({ from, to: from + part.length, mean: sum(part) / part.length });
    first = last;
  }
  return found;
}

function drawChart(byRoute) {
  const chart = $("chart"), width = chart.clientWidth, height = chart.clientHeight;
  if (!width) return;
  const box = { left: 30, top: 8, right: width - 4, bottom: height - 20 }, shown = RATE_SECONDS - 1;
  const present = byRoute.filter((row) => row.counts), stack = [];
  const layers = present.map((row) => ({
    row,
    columns: columns(row.counts, secondNow()).map((column, place) => {
      const low = stack[place] ?? 0;
      stack[place] = low + column.mean;
      return { ...column, low, high: stack[place] };
    }),
  }));
  const top = niceTop(Math.max(...stack, 1));
  const x = (at) => box.left + ((box.right - box.left) * at) / shown;
  const y = (value) => box.bottom - ((box.bottom - box.top) * value) / top;
  const parts = [];
  for (const value of [0, top / 2, top]) {
    parts.push(svg("line", { class: "grid", x1: box.left, x2: box.right, y1: y(value), y2: y(value) }));
    const label = svg("text", { x: box.left - 6, y: y(value) + 4, "text-anchor": "end" });
    label.textContent = String(value);
    parts.push(label);
  }
  for (const minutes of width > 420 ? [5, 4, 3, 2, 1, 0] : [5, 3, 1, 0]) {
    const label = svg("text", {
      x: x(shown - (minutes * shown) / 5), y: height - 5,
      "text-anchor": minutes === 5 ? "start" : minutes ? "middle" : "end",
    });
    label.textContent = minutes === 5 ? "5 min ago" : minutes ? `${minutes}` : "now";
    parts.push(label);
  }
  const gap = width > 500 ? 1 : 0.5;
  for (const layer of layers) {
    const d = layer.columns.filter((column) => column.mean).map(({ from, to, low, high }) => {
      const left = x(from).toFixed(1), right = Math.max(x(to) - gap, x(from) + 0.5).toFixed(1);
      return `M${left} ${y(low).toFixed(1)}V${y(high).toFixed(1)}H${right}V${y(low).toFixed(1)}z`;
    });
    if (d.length) parts.push(svg("path", { class: layer.row.color, d: d.join("") }));
  }
  chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
  chart.replaceChildren(...parts);
  const said = present.map((row) => `${row.name} ${perSecond(recent(row.counts))} per second`).join(", ");
  say($("chart-said"), said ? `Now: ${said}.` : "Nothing was asked in the last five minutes.");
  keyed($("legend"), byRoute.filter((row) => row.counts || row.name !== "failed"), (row) => row.name, (row) => {
    const swatch = svg("svg", { class: "swatch dot", "aria-hidden": "true" },
      svg("rect", { class: row.color, width: "100%", height: "100%" }));
    return el("li", "", swatch, el("span", "mono"), el("b"));
  }, (item, row) => {
    say(item.children[1], row.name);
    say(item.children[2], `${perSecond(recent(row.counts))}/s`);
  });
}

function drawCircuits() {
  const shown = picture.circuits.filter((row) => row.layer !== "credential" || row.state !== "closed" || row.spans.length);
  keyed($("circuits"), shown, (row) => row.key, makeCircuit, fillCircuit);
}

function makeCircuit(row) {
  const name = el("div", "circuit-name", mark("closed"), el("span", "name"), el("span", "badge"), el("span", "why"));
  const strip = svg("svg", { class: "strip", role: "img" });
  const acts = el("div", "acts");
  if (row.layer !== "credential") {
    for (const kind of ["open", "closed", "reset"]) {
      const button = el("button", "", { open: "Open", closed: "Close", reset: "Reset" }[kind]);
      button.type = "button";
      button.setAttribute("aria-label", `${ACTS[kind].title}: ${row.key}`);
      button.title = ACTS[kind].title;
      button.addEventListener("click", () => confirm(kind, row.key));
      acts.append(button);
    }
  }
  return el("li", `circuit ${row.layer === "endpoint" ? "whole" : row.layer}`, name, strip, acts);
}

function fillCircuit(item, row) {
  const [box, strip] = item.children, at = now();
  putMark(box.children[0], row.state);
  const label = row.layer === "endpoint" ? row.endpoint : row.layer === "model" ? row.model : "its credential";
  say(box.children[1], label);
  box.children[1].title = row.key;
  box.children[1].classList.toggle("mono", row.layer === "model");
  say(box.children[2], STATES[row.state]);
  box.children[2].className = `badge ${row.state}`;
  const isTimed = row.until !== null && row.state !== "half_open";
  const left = isTimed ? (row.until - at < 1 ? "until any moment" : `${span(row.until - at)} more`) : "";
  const reason = row.reason || (row.state === "half_open" ? "one request at a time finds out" : "");
  say(box.children[3], row.state === "closed" ? "" : [reason, left].filter(Boolean).join(" · "));
  const since = at - SPAN_SECONDS, place = (instant) => (100 * Math.max(instant - since, 0)) / SPAN_SECONDS;
  const seen = row.spans.filter((each) => each.to === null || each.to > since);
  const rects = seen.map((each) => {
    const from = place(each.from), width = Math.max(place(each.to ?? at) - from, 0.35), half = each.state === "half_open";
    const title = svg("title");
    title.textContent = `${STATES[each.state]} from ${clock(each.from)}${each.to ? ` to ${clock(each.to)}` : ""}${each.reason ? `: ${each.reason}` : ""}`;
    return svg("rect", {
      class: `span ${each.state}`, x: `${from.toFixed(2)}%`, width: `${width.toFixed(2)}%`,
      y: half ? "27%" : "0", height: half ? "46%" : "100%",
    }, title);
  });
  strip.replaceChildren(svg("rect", { class: "calm", x: "0", y: "46%", width: "100%", height: "8%" }), ...rects);
  const away = seen.reduce((whole, each) => whole + (each.to ?? at) - Math.max(each.from, since), 0);
  strip.setAttribute("aria-label", seen.length
    ? `${label}: ${STATES[row.state]} now; not closed for ${span(away)} of the last 15 minutes`
    : `${label}: ${STATES[row.state]} now; closed for the last 15 minutes`);
}

function drawHandovers() {
  const rows = picture.handovers.slice(-SHOWN_ROWS).reverse();
  $("no-handovers").hidden = rows.length > 0;
  keyed($("handovers"), rows, (row) => String(row.number), (row) => {
    const line = row.kind === "returned"
      ? el("p", "", bold(row.agent), arrow("↩"), el("span", "mono", row.to))
      : el("p", "", bold(row.agent), " ", el("span", "mono", row.from), arrow("→"), el("span", "mono", row.to));
    const why = el("p", "why", row.kind === "returned" ? `back after ${span(row.after)}` : row.reason);
    const when = el("time", "", clock(row.at));
    when.dateTime = new Date(row.at * 1000).toISOString();
    return el("li", `handover ${row.kind}${now() - row.at < 3 ? " fresh" : ""}`, when, el("div", "", line, why));
  }, () => {});
}

const bold = (text) => el("b", "", text);

function arrow(sign) {
  const made = el("span", "arrow", ` ${sign} `);
  made.setAttribute("aria-hidden", "true");
  return made;
}

// On a phone, where a table has no head, a cell says itself what it is.
function titled(cell, title) {
  cell.dataset.title = title;
  return cell;
}

function cells(item, values) {
  values.forEach((value, place) => say(item.children[place], value));
}

function drawLatencies() {
  const order = new Map(picture.agents.map((agent, place) => [agent.name, place]));
  const placeOf = (row) => {
    const routes = picture.agents[order.get(row.agent)]?.routes ?? [];
    return routes.findIndex((route) => routeName(route) === routeName(row));
  };
  const rows = [...picture.latencies].sort((a, b) => order.get(a.agent) - order.get(b.agent) || placeOf(a) - placeOf(b));
  $("no-latencies").hidden = rows.length > 0;
  keyed($("latencies"), rows, (row) => nameOf(row, NAMES.latencies), () => {
    const line = el("tr", "", el("td"), el("td", "mono"), el("td", "num"));
    for (const [place, title] of ["first p50", "p90", "p99", "whole p50", "p90", "p99"].entries()) {
      line.append(titled(el("td", `num${place % 3 ? " soft" : ""}`), title));
    }
    return line;
  }, (item, row) => {
    const three = (found) => [took(found?.p50), took(found?.p90), took(found?.p99)];
    item.title = `of the last ${row.last} answers`;
    cells(item, [row.agent, routeName(row), row.requests.toLocaleString("en"), ...three(row.first_token), ...three(row.latency)]);
  });
}

function drawFailures() {
  const rows = [...picture.failures].reverse();
  $("no-failures").hidden = rows.length > 0;
  keyed($("failures"), rows, (row) => String(row.number), (row) => {
    const when = el("time", "", clock(row.at)), how = el("span", "how");
    how.append(row.error ? el("span", "badge bad", row.error) : el("span", "badge good", "answered"));
    if (!row.error && row.attempts.length) how.append(" by ", el("span", "mono", routeName(row.attempts.at(-1))));
    const wrong = row.attempts.find((attempt) => attempt.reason) ?? row.passed_over[0];
    if (wrong) how.append(el("span", "muted", ` · ${wrong.reason}`));
    const summary = el("summary", "", when, el("span", "agent-of", row.agent), how, el("span", "took muted num", took(row.duration)));
    return el("li", "failure", el("details", "", summary, trail(row)));
  }, () => {});
}

function trail(row) {
  const body = el("tbody");
  for (const attempt of row.attempts) {
    const verdict = el("span", `badge ${attempt.verdict === "ok" ? "good" : "warn"}`, attempt.verdict.replaceAll("_", " "));
    body.append(el("tr", "", el("td", "num", `${attempt.number}`), el("td", "mono", routeName(attempt)), el("td", "", verdict),
      el("td", "num", attempt.status === null ? "–" : `${attempt.status}`), el("td", "num", took(attempt.start)),
      el("td", "num", took(attempt.duration)), el("td", "reason", attempt.reason)));
  }
  for (const route of row.passed_over) {
    body.append(el("tr", "", el("td", "num", "–"), el("td", "mono", routeName(route)), el("td", "", el("span", "badge", "passed over")),
      el("td", "num", "–"), el("td", "num", "–"), el("td", "num", "–"), el("td", "reason", route.reason)));
  }
  const head = el("tr");
  for (const [title, kind] of [["", "num"], ["Route"], ["Verdict"], ["Status", "num"], ["Began", "num"], ["Took", "num"], ["Reason"]]) {
    const cell = el("th", kind ?? "", title);
    cell.scope = "col";
    head.append(cell);
  }
  return el("div", "trail", el("table", "", el("thead", "", head), body));
}

function drawEndpoints() {
  const credentials = new Map(picture.credentials.map((row) => [row.endpoint, row]));
  keyed($("endpoints"), picture.endpoints, (row) => row.name, () => {
    const line = el("tr", "", el("td", "", el("span"), " ", el("span", "badge bad")), el("td", "", el("span", "badge"), el("small")));
    for (const title of ["in flight", "waiting", "answered", "failed", "last answer"]) line.append(titled(el("td", "num"), title));
    return line;
  }, (item, row) => {
    const [name, credential, ...numbers] = item.children, known = credentials.get(row.name);
    say(name.children[0], row.name);
    say(name.children[1], row.phase === "serving" ? "" : row.phase);
    name.children[1].hidden = row.phase === "serving";
    const [tone, word, note] = credentialSaid(known);
    say(credential.children[0], word);
    credential.children[0].className = `badge ${tone}`;
    say(credential.children[1], note);
    const values = [`${row.in_flight} of ${row.capacity}`, `${row.waiting}`, row.succeeded.toLocaleString("en"),
      row.failed.toLocaleString("en"), row.last_success_at ? `${span(now() - row.last_success_at)} ago` : "–"];
    numbers.forEach((cell, place) => say(cell, values[place]));
  });
}

function credentialSaid(row) {
  if (!row) return ["", "–", ""];
  const isWell = row.state === "closed" || row.state === "half_open";
  const refused = isWell ? "" : row.reason;
  if (row.kind !== "login") return [isWell ? (row.kind === "key" ? "good" : "") : "bad", row.kind === "key" ? (isWell ? "key" : "key held") : "no key", refused];
  const notes = [];
  if (row.expires_at) notes.push(`token for ${span(row.expires_at - now())}`);
  if (row.days_left !== null) notes.push(`login for ${Math.max(Math.floor(row.days_left), 0)} days`);
  if (row.is_renewing) notes.push("is being renewed");
  if (!row.is_saved) notes.push("the renewed pair is not on disk");
  if (row.login_reason || refused) notes.push(row.login_reason || refused);
  const tone = row.life === "dead" ? "bad" : row.life === "barred" || !isWell || !row.is_saved ? "warn" : "good";
  return [tone, `login ${row.life} (${row.mode})`, notes.join(", ")];
}

// ---- circuits by hand -----------------------------------------------------------------------------------------------

const ACTS = {
  open: { title: "Force open", text: "Nobody asks it: requests go to the next route, whatever its circuit says.", done: "is forced open" },
  closed: { title: "Force closed", text: "Everybody asks it, whatever its circuit says.", done: "is forced closed" },
  reset: { title: "Reset", text: "Forget what is held against it: failures, holds, and what was set by hand.", done: "is reset" },
};
let meant = null;

function confirm(kind, key) {
  meant = { kind, key };
  say($("confirm-title"), `${ACTS[kind].title}?`);
  say($("confirm-key"), key);
  say($("confirm-text"), ACTS[kind].text);
  say($("confirm-yes"), ACTS[kind].title);
  say($("confirm-error"), "");
  $("confirm-for").hidden = kind === "reset";
  $("confirm").showModal();
}

$("confirm-no").addEventListener("click", () => $("confirm").close());
$("confirm-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { kind, key } = meant, yes = $("confirm-yes");
  const body = kind === "reset" ? { action: kind } : { action: kind, for: Number($("confirm-seconds").value) };
  yes.disabled = true;
  try {
    const answer = await fetch(`/circuits/${encodeURIComponent(key)}`, {
      ...REQUEST, method: "POST", body: JSON.stringify(body),
      headers: { ...bearer(), "Content-Type": "application/json" },
    });
    if (answer.status === 401) {
      $("confirm").close();
      askToken("That token is no longer accepted.");
    } else if (!answer.ok) say($("confirm-error"), `The gateway refused (${answer.status}).`);
    else {
      $("confirm").close();
      say($("done"), `${key} ${ACTS[kind].done}.`);
    }
  } catch {
    say($("confirm-error"), "The gateway cannot be reached.");
  } finally {
    yes.disabled = false;
  }
});

// ---- the connection -------------------------------------------------------------------------------------------------

const REQUEST = { cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer" };
const STORED = "understudy-token";
let running = null, wake = null;

const bearer = () => ({ Authorization: `Bearer ${sessionStorage.getItem(STORED) ?? ""}` });

function link(state, text) {
  $("link").dataset.state = state;
  say($("link"), text);
  $("retry").hidden = state !== "lost";
  $("board").classList.toggle("stale", state !== "live");
}

function askToken(why = "") {
  running?.abort();
  running = picture = null;
  sessionStorage.removeItem(STORED);
  $("board").hidden = $("forget").hidden = true;
  $("enter").hidden = false;
  say($("enter-error"), why);
  say($("about"), "");
  link("off", "Not connected");
  $("token").value = "";
  $("token").focus();
}

async function listen() {
  running?.abort();
  const mine = (running = new AbortController());
  $("forget").hidden = false;
  for (let tries = 0; !mine.signal.aborted; tries += 1) {
    const before = heardAt;
    if (!tries) link("off", "Connecting…");
    const why = await read(mine);
    if (mine.signal.aborted) return;
    if (why === 401) return askToken("That token was not accepted.");
    if (heardAt !== before) tries = 0;
    await pause(Math.min(1000 * 2 ** tries, SLOWEST_RETRY) * (0.75 + Math.random() / 2), why, mine.signal);
  }
}

// Reads until the connection ends; returns the status of a refusal, or 0.
async function read(mine) {
  const attempt = new AbortController(), stop = () => attempt.abort();
  mine.signal.addEventListener("abort", stop);
  let silence = setTimeout(stop, SILENT_AFTER);
  try {
    const answer = await fetch("/events", { ...REQUEST, headers: { ...bearer(), Accept: "text/event-stream" }, signal: attempt.signal });
    if (!answer.ok) return answer.status;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return 0;
      clearTimeout(silence);
      silence = setTimeout(stop, SILENT_AFTER);
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      events.forEach(heard);
      link("live", "Live");
    }
  } catch {
    return 0;
  } finally {
    clearTimeout(silence);
    stop();
    mine.signal.removeEventListener("abort", stop);
  }
}

function heard(text) {
  let kind = "message", data = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("event: ")) kind = line.slice(7);
    else if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (data) take(kind, JSON.parse(data));
}

async function pause(milliseconds, status, signal) {
  const until = performance.now() + milliseconds, why = status ? `Refused (${status})` : "Connection lost";
  while (!signal.aborted && performance.now() < until) {
    link("lost", `${why}, again in ${Math.ceil((until - performance.now()) / 1000)} s`);
    const isWoken = await new Promise((resolve) => {
      wake = () => resolve(true);
      setTimeout(() => resolve(false), Math.min(1000, until - performance.now()));
    });
    if (isWoken) break;
  }
  wake = null;
}

$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = $("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(token)) return say($("enter-error"), "A token is printable ASCII without spaces.");
  sessionStorage.setItem(STORED, token);
  $("token").value = "";
  say($("enter-error"), "");
  listen();
});
$("forget").addEventListener("click", () => askToken());
$("retry").addEventListener("click", () => wake?.());
addEventListener("online", () => wake?.());
addEventListener("visibilitychange", () => document.visibilityState === "visible" && (wake?.(), draw()));
addEventListener("resize", draw);
setInterval(draw, 1000);

if (sessionStorage.getItem(STORED)) listen();
else askToken();
