// The review page. Its data comes as scripts, since a page that is opened from disk may load nothing else: rows.js has a
// column for each thing to order, search and show, thumbnails/*.js have a few pictures each. Text becomes text nodes
// and attributes alone, never markup.
"use strict";

const DECISIONS = { k: "keep", r: "reject", d: "redo" };
const DECIDED = { keep: "Kept", reject: "Rejected", redo: "To redo" };
const SCRIPTS_KEPT = 32; // of thumbnails, in memory
const CARD_WIDTH = 290; // pixels, about
const CAPTION_HEIGHT = 52;
const HIGHEST = 15e6; // pixels: browsers draw nothing further down
const FOLDERS = 500; // in the list to choose from
const LISTED = 200; // names under a reason

let data; // the columns of rows.js
let chosen = []; // rows that are shown, in their order
let current = 0; // place in `chosen` of the photograph that the keys are about
let decided = {}; // decisions made in this browser
let columns, cellWidth, cellHeight;
const cards = new Map(); // the photographs near the view, by their place in `chosen`
const scripts = new Map(); // thumbnails in memory by their script, the one used last at the end
const loading = new Set();

const find = (selector) => document.querySelector(selector);
const list = find("#photographs"), form = find("#choice"), viewer = find("#viewer"), stage = find(".stage");
const count = (n) => n.toLocaleString("en");

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// ---- rows

const value = (column, row) => column.values[column.of[row]] ?? null;
const path = (row) => value(data.folder, row) + data.name[row];
const status = (row) => value(data.status, row);
const source = (row) => data.root + path(row);

const size = (row) => `${count(data.width[row])} × ${count(data.height[row])}`;

// Where a photograph's file is, or null: relative to OUTPUT where it lies in there.
const file = (row) => value(data.file, row)?.replaceAll("\0", () => path(row)) ?? null;

// Whether a browser shows its file: not a TIFF, nor one that lies in a file with others.
const opens = (row) => /\.(png|jpe?g)$/i.test(file(row) ?? "") && !inShard(file(row));
const larger = (row) => (data.larger[row] ? `pictures/${data.larger[row]}.jpg` : null);
const unmarked = (folder) => folder.replace(/(\.(tar|parquet))#$/, "$1"); // of a shard
const folderNames = () => data.folder.values.map((folder) => folder.replace(/\/$/, ""));
const inShard = (place) => /\.(tar|parquet)#/.test(place);

// Decisions are about a certain picture: what is coloured again is undecided.
const key = (row) => data.id[row].slice(0, 8) + (data.digest[row] ?? "");
const decision = (row) => decided[key(row)] ?? value(data.decision, row);

// An address that a browser can open, or null. Bytes that are not UTF-8 are escaped in the catalogue.
function address(place) {
  if (inShard(place)) return null;
  if (/^https?:/.test(place)) return place;
  if (/^\w+:\/\//.test(place)) return null;
  const encoded = place.split("/").map(encodeURIComponent).join("/").replace(/%5Cu(?:dc([89a-f][0-9a-f])|005c)/g, (_, byte) => `%${byte || "5C"}`);
  return place.startsWith("/") ? `file://${encoded}` : `../${encoded}`;
}

// ---- decisions

const memory = () => `colorize review of ${data.output}`;

// Where the page lives: on a disk or in a bucket, with this browser's memory and without a network. live.js changes that.
const home = {
  recall() {
    const stored = (name) => {
      try {
        return JSON.parse(localStorage.getItem(name)) ?? {};
      } catch {
        return {};
      }
    };
    decided = stored(memory());
    guided = stored(`${memory()}: hints`);
  },
  remember() {
    try {
      localStorage.setItem(memory(), JSON.stringify(decided));
      localStorage.setItem(`${memory()}: hints`, JSON.stringify(guided));
      return true;
    } catch {
      say("This browser has no room for more decisions: export them before you leave");
      return false;
    }
  },
  picture: (row) => larger(row) ?? (opens(row) ? address(file(row)) : null),
  originals: (row) => [["Original", link(source(row), source(row))], ["Colour", link(file(row), file(row))]],
  likeliest: (row) => {
    const packed = thumbnail(row)?.likeliest;
    return packed ? Int8Array.from(atob(packed), (letter) => letter.charCodeAt(0)) : null;
  },
  hinted() {},
};

function decide(place, wish) {
  const row = chosen[place];
  if (decided[key(row)] === wish) delete decided[key(row)];
  else decided[key(row)] = wish;
  if (home.remember(row)) say(`${data.name[row]}: ${decision(row) ?? "undecided"}`);
  showDecisions();
}

function showDecisions() {
  for (const [place, card] of cards) mark(card, chosen[place]);
  const counts = { keep: 0, reject: 0, redo: 0 };
  for (let row = 0; row < data.id.length; row++) if (decision(row)) counts[decision(row)]++;
  const total = counts.keep + counts.reject + counts.redo;
  find("#tally").textContent = total
    ? `${count(counts.keep)} kept, ${count(counts.reject)} rejected, ${count(counts.redo)} to redo`
    : "None decided";
  for (const button of document.querySelectorAll("[data-export]")) button.disabled = !total;
  for (const button of document.querySelectorAll("[data-decision]"))
    button.setAttribute("aria-pressed", viewer.open && decision(chosen[current]) === button.dataset.decision);
  showEstimate();
}

function exported(format) {
  const rows = [];
  for (let row = 0; row < data.id.length; row++)
    if (decision(row)) rows.push({ id: data.id[row], source: source(row), decision: decision(row), colors: seen(row), ...given(row) });
  if (format === "json") return JSON.stringify(rows, null, 1);
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = rows.map((row) => [row.id, row.source, row.decision, row.colors].map(quoted).join(","));
  return ["id,source,decision,colors", ...lines, ""].join("\r\n");
}

// What was looked at, so that nothing else is taken for it; no spreadsheet takes this for a number.
const seen = (row) => `sha256:${data.digest[row]}`;
// Hints, of what is to be coloured with others than it was.
const given = (row) => (decision(row) === "redo" && guided[key(row)] ? { hints: guided[key(row)] } : {});

function download(format) {
  const hinted = Array.from(data.id.keys()).filter((row) => given(row).hints).length;
  if (format === "csv" && hinted) say(`CSV holds no hints: export JSON for those of ${count(hinted)} photographs`);
  const blob = new Blob([exported(format)], { type: format === "json" ? "application/json" : "text/csv" });
  const link = element("a", { href: URL.createObjectURL(blob), download: `decisions.${format}` });
  link.click();
  URL.revokeObjectURL(link.href);
}

// ---- choosing and ordering

const ORDERS = {
  doubtful: (row) => data.confidence[row] ?? Infinity,
  certain: (row) => -(data.confidence[row] ?? -Infinity),
  muted: (row) => data.colorfulness[row] ?? Infinity,
  vivid: (row) => -(data.colorfulness[row] ?? -Infinity),
  name: (row) => row,
};

const SHOWN = {
  ok: () => true,
  undecided: (row) => !decision(row),
  keep: (row) => decision(row) === "keep",
  reject: (row) => decision(row) === "reject",
  redo: (row) => decision(row) === "redo",
};

const searchable = (text) => text.normalize("NFC").toLowerCase();

function choose() {
  const { search, show, order, folder } = form.elements;
  order.disabled = show.value === "random"; // or those by chance would not be judged as they come
  const wanted = searchable(search.value.trim()), shown = SHOWN[show.value];
  const inside = folderNames().map((name) => !folder.value || `${name}/`.startsWith(`${folder.value}/`));
  const before = chosen[current];
  chosen = [];
  for (let row = 0; row < data.id.length; row++)
    if (
      (shown ? status(row) === "ok" && shown(row) : status(row) === show.value) &&
      inside[data.folder.of[row]] && (!wanted || searchable(path(row)).includes(wanted))
    )
      chosen.push(row);
  const keys = new Map(chosen.map((row) => [row, ORDERS[order.disabled ? "random" : order.value](row)]));
  chosen.sort((a, b) => keys.get(a) - keys.get(b) || a - b);
  current = Math.max(0, chosen.indexOf(before));
  list.hidden = !shown;
  find("#reasons").hidden = Boolean(shown);
  if (!shown) showReasons();
  say(shown ? `${count(chosen.length)} ${chosen.length === 1 ? "photograph" : "photographs"}` : "");
  layOut();
}

function chooseFromTop() {
  scrollTo(0, 0);
  choose();
}

function showReasons() {
  const groups = Map.groupBy(chosen, (row) => value(data.reason, row));
  const sorted = [...groups].sort((a, b) => countOf(...b) - countOf(...a));
  find("#reasons").replaceChildren(...sorted.map(([reason, rows]) => {
    const total = countOf(reason, rows), listed = rows.slice(0, LISTED), more = `${count(total - listed.length)} more`;
    const details = element("details", {}, element("summary", {}, `${count(total)} × ${reason}`));
    details.addEventListener("toggle", () => {
      const items = listed.map((row) => element("li", {}, link(source(row), path(row))));
      if (total > listed.length)
        items.push(element("li", {}, `… and ${more}: ${sample ? "the catalogue has them" : "search to find them"}`));
      details.append(element("ul", {}, ...items));
    }, { once: true });
    return details;
  }));
  if (!sorted.length) find("#reasons").append(element("p", {}, "There are none."));
}

function link(place, text) {
  const href = address(place);
  return href ? element("a", { href, target: "_blank", rel: "noopener" }, text) : element("span", {}, text);
}

// ---- thumbnails

function thumbnail(row) {
  const name = value(data.script, row), there = scripts.get(name);
  if (!name) return null;
  if (!there) {
    load(name);
    return null;
  }
  scripts.delete(name);
  scripts.set(name, there);
  return there[data.place[row]];
}

function load(name) {
  if (loading.has(name)) return;
  loading.add(name);
  const script = element("script", { src: `thumbnails/${name}.js` });
  script.onload = script.onerror = () => {
    script.remove();
    loading.delete(name);
  };
  document.head.append(script);
}

function arrived(name, pictures) {
  scripts.set(name, pictures);
  if (scripts.size > SCRIPTS_KEPT) scripts.delete(scripts.keys().next().value);
  fill(name);
  if (viewer.open && value(data.script, chosen[current]) === name) look(current);
}

// Pictures for the cards that have none: those of a script that has come, or all.
function fill(name) {
  for (const [place, card] of cards) {
    const row = chosen[place];
    if (card.filled || (name && value(data.script, row) !== name)) continue;
    const picture = thumbnail(row);
    if (!picture) continue;
    card.filled = true;
    for (const image of card.querySelectorAll("img")) image.src = `data:image/jpeg;base64,${picture.jpeg}`;
  }
}

// ---- comparing grey with colour

// Two pictures, the one above as grey as the scan was, and the slider that says how much of it is seen.
function comparison(row, wide, high) {
  const scale = Math.min(wide / data.width[row], high / data.height[row]);
  const name = data.name[row];
  const box = element("div", { className: "comparison" });
  box.style.width = `${data.width[row] * scale}px`;
  box.style.height = `${data.height[row] * scale}px`;
  const after = element("img", { className: "after", alt: `${name}, in colour`, draggable: false });
  const before = element("img", { className: "before", alt: "", draggable: false });
  const slider = element("input", { type: "range", className: "slider", min: 0, max: 100, value: 0 });
  slider.setAttribute("aria-label", `How much of ${name} is grey`);
  slider.addEventListener("input", () => {
    box.style.setProperty("--cut", `${slider.value}%`);
    box.classList.toggle("cut", slider.value > 0);
  });
  slide(box, slider);
  return { box, after, before, slider };
}

function slide(box, slider) {
  let start = null, moved = false;
  box.addEventListener("pointerdown", (event) => {
    start = event.clientX;
    moved = false;
  });
  box.addEventListener("pointermove", (event) => {
    if (start === null || (!moved && Math.abs(event.clientX - start) < 5)) return;
    if (!moved) box.setPointerCapture(event.pointerId);
    moved = true;
    const { left, width } = box.getBoundingClientRect();
    slider.value = (100 * (event.clientX - left)) / width;
    slider.dispatchEvent(new Event("input"));
  });
  for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, () => (start = null));
  box.addEventListener("click", (event) => moved && event.stopPropagation(), true);
}

// ---- the grid: only the cards near the view exist

function layOut() {
  columns = Math.max(2, Math.round(list.clientWidth / CARD_WIDTH));
  cellWidth = list.clientWidth / columns;
  cellHeight = Math.round(0.75 * cellWidth) + CAPTION_HEIGHT;
  const most = Math.floor(HIGHEST / cellHeight) * columns;
  if (chosen.length > most && !list.hidden) {
    chosen.length = most;
    say(`The first ${count(most)} photographs: search or choose a folder to see others`);
  }
  list.style.height = `${Math.ceil(chosen.length / columns) * cellHeight}px`;
  list.replaceChildren();
  cards.clear();
  render();
}

let resting;

function render() {
  if (list.hidden || !chosen.length) return;
  const top = -list.getBoundingClientRect().top, margin = innerHeight / 2;
  const first = Math.max(0, Math.floor((top - margin) / cellHeight)) * columns;
  const last = Math.min(chosen.length, Math.ceil((top + innerHeight + margin) / cellHeight) * columns);
  for (const [place, card] of cards)
    if ((place < first || place >= last) && !card.contains(document.activeElement)) {
      card.remove();
      cards.delete(place);
    }
  let previous = null;
  for (let place = first; place < last; place++) {
    if (!cards.has(place)) {
      cards.set(place, makeCard(place));
      previous ? previous.after(cards.get(place)) : list.prepend(cards.get(place));
    }
    previous = cards.get(place);
  }
  // Tab finds its way into what is seen.
  const seen = Math.ceil(Math.max(0, top) / cellHeight) * columns;
  if (!cards.has(current) && !viewer.open) focused(Math.min(chosen.length - 1, seen));
  clearTimeout(resting); // so that what is only scrolled past is not loaded
  resting = setTimeout(fill, 60);
}

function makeCard(place) {
  const row = chosen[place];
  const inset = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const wide = cellWidth - inset, high = cellHeight - CAPTION_HEIGHT - inset;
  const { box, after, before, slider } = comparison(row, wide, high);
  const open = element("button", { type: "button", className: "open" }, after);
  box.append(open, before);
  const frame = element("div", { className: "frame" }, box, slider, element("span", { className: "mark" }));
  frame.style.height = `${high}px`;
  const sure = data.confidence[row] === null ? "" : `confidence ${data.confidence[row].toFixed(2)}`;
  const card = element("li", { className: "card" }, frame,
    element("p", { className: "name", title: path(row) }, data.name[row]),
    element("p", { className: "facts" }, element("span", {}, sure), element("span", {}, size(row))));
  card.setAttribute("aria-posinset", place + 1);
  card.setAttribute("aria-setsize", chosen.length);
  card.style.left = `${(place % columns) * cellWidth}px`;
  card.style.top = `${Math.floor(place / columns) * cellHeight}px`;
  card.style.width = `${cellWidth}px`;
  open.addEventListener("click", () => look(place));
  card.addEventListener("focusin", () => focused(place));
  for (const control of [open, slider]) control.tabIndex = place === current ? 0 : -1;
  mark(card, row);
  return card;
}

function mark(card, row) {
  const hints = hintsOf(row).length, word = [
    DECIDED[decision(row)] ?? "", hints ? `${hints} ${hints === 1 ? "hint" : "hints"}` : "",
  ].filter(Boolean).join(", ");
  card.querySelector(".mark").textContent = word;
  card.querySelector(".after").alt = `${data.name[row]}, in colour${word && `, ${word.toLowerCase()}`}`;
}

// The photograph that has the focus is the only one that Tab stops at.
function focused(place) {
  for (const at of [current, place])
    for (const control of cards.get(at)?.querySelectorAll("button, input") ?? []) control.tabIndex = at === place ? 0 : -1;
  current = place;
}

function moveTo(place) {
  place = Math.max(0, Math.min(chosen.length - 1, place));
  const { top } = list.getBoundingClientRect();
  const y = top + Math.floor(place / columns) * cellHeight;
  const above = getComputedStyle(form).position === "sticky" ? form.offsetHeight : 0, below = find("#keys").offsetHeight;
  if (y < above) scrollBy(0, y - above);
  else if (y + cellHeight > innerHeight - below) scrollBy(0, y + cellHeight - innerHeight + below);
  render();
  cards.get(place)?.querySelector(".open").focus({ preventScroll: true });
}

function keyInGrid(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !event.target.closest(".card")) return;
  const page = columns * Math.max(1, Math.floor(innerHeight / cellHeight) - 1);
  const steps = {
    ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -page, PageDown: page,
    Home: -chosen.length, End: chosen.length,
  };
  const wish = DECISIONS[event.key.toLowerCase()];
  if (wish) {
    decide(current, wish);
    if (decision(chosen[current]) === wish) moveTo(current + 1);
  } else if (event.key in steps && event.target.type !== "range") moveTo(current + steps[event.key]);
  else return;
  event.preventDefault();
}

// ---- the viewer

function look(place) {
  current = place;
  if (!viewer.open) viewer.showModal();
  const row = chosen[place];
  selected = cross = null;
  find("#viewer-name").textContent = data.name[row];
  for (const [action, step] of [["previous", -1], ["next", 1]])
    find(`[data-do=${action}]`).disabled = !(place + step in chosen);
  showPicture();
  showFacts(row);
  showDecisions();
  find("#viewer-name").focus();
}

function showPicture() {
  const row = chosen[current], native = find("[data-do=native]");
  native.disabled = !opens(row);
  const full = native.getAttribute("aria-pressed") === "true" && opens(row);
  stage.classList.toggle("native", full);
  const { clientWidth, clientHeight } = stage;
  const room = full ? [data.width[row], data.height[row]] : [clientWidth - 32, clientHeight - 90];
  const { box, after, before, slider } = comparison(row, ...room);
  box.append(after, before);
  stage.replaceChildren(box, slider);
  slider.value = hinting ? 0 : 50;
  slider.dispatchEvent(new Event("input"));
  see(row);
  showHints();
  if (hinting) home.likeliest(row); // so that it is there in time
  if (guided[key(row)]) home.hinted(row);
  const show = (src) => {
    for (const image of [after, before]) image.src = src;
  };
  const small = thumbnail(row);
  if (small) show(`data:image/jpeg;base64,${small.jpeg}`);
  if (!home.picture(row)) return;
  const whole = new Image(); // kept apart until it is there, so that the thumbnail is seen meanwhile
  whole.onload = () => after.src.startsWith("blob:") || show(whole.src); // unless live.js was faster
  whole.src = home.picture(row);
}

function showFacts(row) {
  const known = (number, digits) => (number === null ? "not known" : number.toFixed(digits));
  const facts = [
    ["Caption", thumbnail(row)?.caption],
    ["Folder", unmarked(folderNames()[data.folder.of[row]])],
    ["Size", size(row)],
    ["Confidence", known(data.confidence[row], 2)],
    ["Colourfulness", known(data.colorfulness[row], 1)],
    ["Kind", value(data.kind, row)],
    ["Model", value(data.model, row)],
    ...home.originals(row),
  ];
  const shown = facts.filter(([, fact]) => fact);
  find("dl").replaceChildren(
    ...shown.flatMap(([name, fact]) => [element("dt", {}, name), element("dd", {}, fact)]));
}

const ACTIONS = {
  previous: () => current > 0 && look(current - 1),
  next: () => current + 1 < chosen.length && look(current + 1),
  close: () => viewer.close(),
  native: () => {
    const button = find("[data-do=native]");
    if (button.disabled) return;
    button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
    showPicture();
  },
};

function decideInViewer(wish) {
  decide(current, wish);
  if (decision(chosen[current]) === wish) ACTIONS.next();
}

function keyInViewer(event) {
  if (keyOnHints(event)) return event.preventDefault();
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const pressed = event.key.toLowerCase();
  const arrows = { arrowleft: "previous", arrowright: "next" };
  const scrolls = event.target.type === "range" || event.target === stage;
  if (DECISIONS[pressed]) decideInViewer(DECISIONS[pressed]);
  else if (pressed === "n") ACTIONS.native();
  else if (arrows[pressed] && !scrolls) ACTIONS[arrows[pressed]]();
  else return;
  event.preventDefault();
}

// ---- the page

const say = (text) => (find("#said").textContent = text);

function options(select, choices) {
  select.replaceChildren(...choices.map(([value, text]) => element("option", { value }, text)));
}

// Folders at every depth down to which there are not too many to choose from.
function folders() {
  let found = [];
  const whole = folderNames();
  for (let depth = 1; ; depth++) {
    const names = whole.map((name) => name.split("/").slice(0, depth).join("/"));
    const next = [...new Set([...found, ...names.filter(Boolean)])];
    if (next.length === found.length || next.length > FOLDERS) return found.sort();
    found = next;
  }
}

function setSurround(dark) {
  document.documentElement.dataset.surround = dark ? "dark" : "light";
  find("#surround").textContent = dark ? "Light surround" : "Dark surround";
}

function start(rows) {
  data = rows;
  home.recall();
  const more = startSample(), counts = sample?.counts ?? statuses();
  find("#about").textContent = `${data.output}: ${count(counts.ok)} coloured, ${count(counts.error)} failed, ` +
    `${count(counts.skipped)} skipped`;
  options(form.elements.show, [
    ["ok", `${sample ? "All on this page" : "All coloured"} (${count(statuses().ok)})`], ...more, ["undecided", "Undecided"], ...Object.entries(DECIDED),
    ["error", `Failed (${count(counts.error)})`], ["skipped", `Skipped (${count(counts.skipped)})`],
  ]);
  options(form.elements.folder, [["", "All folders"], ...folders().map((name) => [name, unmarked(name)])]);
  choose();
  showDecisions();
}

let typing;
form.addEventListener("input", (event) => {
  clearTimeout(typing);
  if (event.target === form.elements.search) typing = setTimeout(chooseFromTop, 150);
  else chooseFromTop();
});
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("click", (event) => event.target.dataset.export && download(event.target.dataset.export));
list.addEventListener("keydown", keyInGrid);
viewer.addEventListener("keydown", keyInViewer);
viewer.addEventListener("close", () => moveTo(current));
viewer.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.decision) decideInViewer(button.dataset.decision);
  else if (button) ACTIONS[button.dataset.do]?.();
});
addEventListener("scroll", () => requestAnimationFrame(render), { passive: true });
addEventListener("resize", () => {
  if (!data) return;
  list.clientWidth === columns * cellWidth ? render() : layOut(); // a phone's address bar comes and goes
  if (viewer.open) showPicture();
});
addEventListener("storage", (event) => {
  if (!data || !event.key?.startsWith(memory())) return;
  home.recall();
  showDecisions();
  if (viewer.open) showHints();
});
find("#surround").addEventListener("click", () => setSurround(document.documentElement.dataset.surround !== "dark"));
setSurround(matchMedia("(prefers-color-scheme: dark)").matches);

const review = { rows: start, thumbnails: arrived };
