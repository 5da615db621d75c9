// State of the page, and the parts that show it.

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const classified = Boolean(data.videos[0].errorType);
const TRUE_POSITIVE = data.errorTypes.indexOf("true positive");
const IGNORED = data.errorTypes.indexOf("ignored");
const scores = Float64Array.from(data.videos.flatMap((video) => video.score)).sort();
const state = {
  video: null,
  threshold: data.threshold ?? scores[0] ?? 0,
  tiou: data.shownTiou ?? 0,
  only: -1,
  types: new Set(data.errorTypes.keys()),
  rows: 50,
  counts: () => countsByClass(),
};
let palette = [];

/** Returns the CSS variable with the colour of an error type, such as "true-positive". */
function variable(type) {
  return type.replaceAll(" ", "-");
}

const timeline = new Timeline(document.querySelector("#timeline canvas"), {
  seek: (seconds) => seek(seconds),
  choose: (row) => choose(row),
  point: (row, x, y) => showTip(row, x, y),
});

/** Returns how many detections of a video reach the threshold; these come first. */
function reaching(video) {
  let low = 0, high = video.score.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (video.score[middle] >= state.threshold) low = middle + 1;
    else high = middle;
  }
  return low;
}

const typeOf = (video, row) => (classified ? Number(video.errorType[state.tiou][row]) : -1);

function shown(video, row) {
  return video.score[row] >= state.threshold
    && (state.only < 0 || video.label[row] === state.only)
    && (!classified || state.types.has(typeOf(video, row)));
}

/** Returns the rows of a video's detections that are shown, best first. */
function shownRows(video) {
  const rows = [];
  for (let row = 0, end = reaching(video); row < end; row++) if (shown(video, row)) rows.push(row);
  return rows;
}

/** Counts the detections of a video by error type, or without ground truth by class. */
function counted(video) {
  const counts = new Array(classified ? data.errorTypes.length : data.labels.length).fill(0);
  for (let row = 0, end = reaching(video); row < end; row++) {
    if (state.only >= 0 && video.label[row] !== state.only) continue;
    counts[classified ? typeOf(video, row) : video.label[row]]++;
  }
  return counts;
}

function instancesOf(video) {
  return (video.instances || []).filter(
    ([label]) => label >= 0 && (state.only < 0 || label === state.only)).length;
}

function countsByClass() {
  const counts = data.labels.map(
    () => ({ instances: 0, found: 0, types: data.errorTypes.map(() => 0) }));
  for (const video of data.videos) {
    for (const [label] of video.instances || []) if (label >= 0) counts[label].instances++;
    for (let row = 0, end = reaching(video); row < end; row++) {
      counts[video.label[row]].types[typeOf(video, row)]++;
    }
  }
  for (const count of counts) count.found = count.types[TRUE_POSITIVE];
  return counts;
}

const tint = (video, row) => palette[classified ? typeOf(video, row) : video.label[row] % 8];
const typeName = (video, row) => (classified ? data.errorTypes[typeOf(video, row)] : "");

function repaint() {
  palette = classified ? data.errorTypes.map((type) => colour(variable(type)))
    : [0, 1, 2, 3, 4, 5, 6, 7].map((n) => colour(`class${n}`));
}

// The list of videos.

const items = data.videos.map((video, n) => {
  const bar = make("span", { className: "mix" });
  const about = make("span", { className: "muted" });
  const button = make("button", {}, make("span", { className: "id" }, video.id), about, bar);
  button.addEventListener("click", () => open(n));
  return { n, video, bar, about, button, item: make("li", {}, button), counts: [] };
});

const orders = {
  "original order": (a, b) => a.n - b.n,
  "by name": (a, b) => (a.video.id < b.video.id ? -1 : 1),
  "most detections": (a, b) => b.detections - a.detections,
  ...(classified && {
    "most errors": (a, b) => b.errors - a.errors,
    "most missed": (a, b) => b.missed - a.missed,
  }),
};

function count() {
  for (const each of items) {
    each.counts = counted(each.video);
    each.detections = each.counts.reduce((sum, n) => sum + n, 0);
    if (classified) {
      const instances = instancesOf(each.video), found = each.counts[TRUE_POSITIVE];
      each.missed = instances - found;
      each.errors = each.detections - found - each.counts[IGNORED];
      each.about.textContent = `${found} of ${instances} found · ${each.errors} errors`;
    } else {
      each.about.textContent = `${each.detections} detections`;
    }
    let from = 0;
    const stops = each.counts.flatMap((n, colourIndex) => {
      const to = from + (100 * n) / (each.detections || 1);
      const stop = n ? [`${palette[colourIndex % palette.length]} ${from}% ${to}%`] : [];
      from = to;
      return stop;
    });
    each.bar.style.background = stops.length ? `linear-gradient(90deg, ${stops})` : "";
  }
}

function arrange() {
  const text = $("search").value.trim().toLowerCase();
  const fits = items.filter(({ video, detections }) => video.id.toLowerCase().includes(text)
    && (state.only < 0 || instancesOf(video) || detections));
  fits.sort(orders[$("sort").value]);
  $("videos").replaceChildren(...fits.map(({ item }) => item));
  $("videos-count").textContent = fits.length === items.length
    ? `${thousands(items.length)} videos`
    : `${thousands(fits.length)} of ${thousands(items.length)} videos`;
  return fits;
}

function step(by) {
  const fits = arrange();
  const at = fits.findIndex(({ n }) => n === state.video);
  const next = fits[at + by];
  if (next) open(next.n);
}

// One video.

function open(n) {
  const video = data.videos[n];
  if (state.video !== null) items[state.video].button.removeAttribute("aria-current");
  state.video = n;
  state.rows = 50;
  items[n].button.setAttribute("aria-current", "true");
  items[n].button.scrollIntoView({ block: "nearest" });
  $("name").textContent = video.id;
  history.replaceState(null, "", `#video=${encodeURIComponent(video.id)}`);
  show(video);
  timeline.show(video, data.labels);
  timeline.canvas.setAttribute("aria-label",
    `Timeline of ${video.id}, ${clock(video.duration)} long. Arrow keys move in time and between ` +
    "detections; the table below has the same.");
  update();
  seek(0);
}

/** Describes a detection in one line. */
function described(video, row) {
  const what = typeName(video, row);
  const times = `${clock(video.start[row])} – ${clock(video.stop[row])}`;
  return `${data.labels[video.label[row]]}, ${times}, `
    + `score ${shortScore(video.score[row])}${what ? `: ${what}` : ""}`;
}

function choose(row) {
  const video = data.videos[state.video];
  timeline.choose(row);
  seek(video.start[row]);
  $("said").textContent = described(video, row);
  for (const line of $("table").tBodies[0].rows) {
    line.classList.toggle("chosen", Number(line.dataset.row) === row);
  }
}

function showTip(row, x, y) {
  const tip = $("tip");
  tip.hidden = row === null;
  if (row === null) return;
  tip.textContent = described(data.videos[state.video], row);
  const room = $("timeline").clientWidth - tip.offsetWidth;
  tip.style.left = `${Math.max(0, Math.min(x + 12, room))}px`;
  tip.style.top = `${y + 16}px`;
}

function tabulate() {
  const video = data.videos[state.video];
  const rows = shownRows(video);
  const lines = rows.slice(0, state.rows).map((row) => {
    const button = make("button", { className: "plain" }, data.labels[video.label[row]]);
    const dot = make("span", { className: "dot" });
    dot.style.background = tint(video, row);
    const line = make("tr", {}, make("td", {}, dot, button),
      make("td", { className: "number" }, clock(video.start[row])),
      make("td", { className: "number" }, clock(video.stop[row])),
      make("td", { className: "number" }, shortScore(video.score[row])),
      ...(classified ? [make("td", {}, typeName(video, row))] : []));
    line.dataset.row = row;
    line.addEventListener("click", () => choose(row));
    return line;
  });
  $("table").tBodies[0].replaceChildren(...lines);
  $("table-caption").textContent = rows.length > lines.length
    ? `the best ${lines.length} of ${thousands(rows.length)} detections`
    : rows.length === 1 ? "1 detection" : `${rows.length} detections, the best first`;
  $("more").hidden = rows.length <= lines.length;
}

let updating = null, redrawCharts = () => {}, later = null;

/** Updates everything that depends on the state, once before the next frame. */
function update() {
  updating ||= requestAnimationFrame(() => {
    updating = null;
    const video = data.videos[state.video];
    const above = scores.length - lowerBound(scores, state.threshold);
    $("threshold-value").textContent = shortScore(state.threshold);
    $("threshold-count").textContent =
      `${thousands(above)} of ${thousands(scores.length)} detections`;
    $("threshold").setAttribute("aria-valuetext",
      `score ${shortScore(state.threshold)}, ${above} detections`);
    count();
    for (const [n, { label, number }] of legend.entries()) {
      number.textContent = items[state.video].counts[n];
      label.hidden = !classified && !items[state.video].counts[n];
    }
    timeline.filter((row) => shown(video, row), (row) => tint(video, row), state.only);
    tabulate();
    moved(timeline.time);
    clearTimeout(later);
    later = setTimeout(() => redrawCharts(), 150);
  });
}

function lowerBound(sorted, value) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Filters.

const legend = (classified ? data.errorTypes : data.labels).map((name, n) => {
  const dot = make("span", { className: "dot" });
  dot.style.background = `var(--${classified ? variable(name) : `class${n % 8}`})`;
  const number = make("span", { className: "muted" });
  const label = make("label", {}, dot, name, number);
  if (classified) {
    const box = make("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      state.types[box.checked ? "add" : "delete"](n);
      update();
    });
    label.prepend(box);
  }
  $("legend").append(label);
  return { label, number };
});
if (classified) {
  const dot = make("span", { className: "dot instance" });
  $("legend").append(make("span", { className: "label" }, dot, "instance"));
}

const one = { videos: "video", detections: "detection", classes: "class", instances: "instance" };
document.title = data.title;
$("title").textContent = data.title;
const total = (of) => data.videos.reduce((sum, video) => sum + of(video), 0);
const facts = {
  videos: data.videos.length, detections: scores.length, classes: data.labels.length };
if (classified) facts.instances = total(instancesOf);
for (const [name, value] of Object.entries(facts)) {
  const what = make("dt", {}, value === 1 ? one[name] : name);
  $("facts").append(make("div", {}, what, make("dd", {}, thousands(value))));
}
const [first] = classified ? evaluatedAt(data.evaluations, data.tiou[state.tiou]) : [];
if (first) {
  const tiou = data.tiou[state.tiou];
  const what = make("dt", {}, `mAP at tIoU ${tiou}, protocol ${data.protocol}`);
  $("facts").append(make("div", {}, what, make("dd", {}, decimals(first[1].map[tiou]))));
}

for (const text of data.tiou) $("tiou").append(make("option", {}, text));
$("tiou").selectedIndex = state.tiou;
$("tiou-label").hidden = !classified;
$("class").append(...["all", ...data.labels].map((label) => make("option", {}, label)));
for (const name of Object.keys(orders)) $("sort").append(make("option", {}, name));
$("threshold").disabled = scores.length < 2;
$("threshold").value =
  Math.floor((1000 * lowerBound(scores, state.threshold)) / Math.max(1, scores.length - 1));
if (!classified) {
  for (const cell of document.querySelectorAll(".error-type")) cell.hidden = true;
}
document.body.classList.toggle("single", data.videos.length === 1);

$("threshold").addEventListener("input", (event) => {
  state.threshold = scores[Math.round((event.target.value / 1000) * (scores.length - 1))];
  update();
});
$("tiou").addEventListener("change", (event) => {
  state.tiou = event.target.selectedIndex;
  update();
});
$("class").addEventListener("change", (event) => {
  state.only = event.target.selectedIndex - 1;
  update();
  requestAnimationFrame(arrange);
});
$("search").addEventListener("input", arrange);
$("sort").addEventListener("change", arrange);
$("more").addEventListener("click", () => {
  state.rows += 200;
  tabulate();
});
$("before").addEventListener("click", () => step(-1));
$("after").addEventListener("click", () => step(1));
$("in").addEventListener("click", () => timeline.zoom(2));
$("out").addEventListener("click", () => timeline.zoom(0.5));
$("fit").addEventListener("click", () => timeline.fit());
for (const link of document.querySelectorAll("nav a")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    document.querySelector(link.getAttribute("href")).scrollIntoView({ behavior: "smooth" });
  });
}
$("videos").addEventListener("keydown", (event) => {
  const by = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const next = by && document.activeElement.closest("li")?.[by];
  if (!next) return;
  event.preventDefault();
  next.firstChild.focus();
});

/** Returns the row of the shown detection that is next in time, or previous for by = -1. */
function neighbour(by) {
  const video = data.videos[state.video];
  const rows = shownRows(video).sort((a, b) => video.start[a] - video.start[b] || a - b);
  const at = rows.indexOf(timeline.chosen);
  if (at >= 0) return rows[at + by];
  const after = rows.findIndex((row) => video.start[row] >= timeline.time);
  return by > 0 ? rows[after] : rows[(after < 0 ? rows.length : after) - 1];
}

timeline.canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const video = data.videos[state.video];
  const by = (seconds) => () => seek(Math.min(video.end, Math.max(0, timeline.time + seconds)));
  const to = (direction) => () => {
    const row = neighbour(direction);
    if (row !== undefined) choose(row);
  };
  const action = {
    ArrowLeft: by(event.shiftKey ? -10 : -1), ArrowRight: by(event.shiftKey ? 10 : 1),
    ArrowDown: to(1), ArrowUp: to(-1), Home: () => seek(0), End: () => seek(video.duration),
    "+": () => timeline.zoom(2), "=": () => timeline.zoom(2), "-": () => timeline.zoom(0.5),
    0: () => timeline.fit(), " ": () => player && (player.paused ? player.play() : player.pause()),
    PageUp: () => step(-1), PageDown: () => step(1),
  }[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  repaint();
  update();
});

const tables = resultTables(data), charts = chartsOf(data, state);
$("results").hidden = !tables.length && !charts.length;
$("to-results").parentElement.hidden = $("results").hidden;
$("tables").append(...tables);
redrawCharts = showCharts($("charts"), charts);

repaint();
count();
arrange();
const wanted = new URLSearchParams(location.hash.slice(1)).get("video");
open(Math.max(0, data.videos.findIndex((video) => video.id === wanted)));
