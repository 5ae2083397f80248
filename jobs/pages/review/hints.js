// Colours that a person knows at some places of the photograph in the viewer: hints as the catalogue has them,
// { x, y, color, radius } in pixels of the upright scan, where a color is #rrggbb or none. They are shown as rings. Of a
// color only the chroma counts, so those that are offered are of the lightness of their place.
"use strict";

const WIDEST = 0.1; // a hint's radius, of the photograph's longer side
const STEP = 0.01, FINE_STEP = 0.002; // by the arrow keys, of the longer side
const THUMBNAIL = 320; // pixels, its longer side
const SIGHTS_KEPT = 4; // photographs whose pixels are in memory
const ALIKE = 3; // CIE units: colors that need not be told apart
const SETTLED = 150; // milliseconds after which a change is kept: a slider makes many

let guided = {}; // hints by photograph, where they differ from the catalogue's
let hinting = false; // whether a click in the photograph places a hint
let selected = null; // the place of one in the list
let picking = null; // of which hint of which row the next click gives the color
let cross = null; // where the keyboard points, in pixels
let dial = { hue: 0, chroma: 0 }; // a grey has no hue, and yet the slider must stand somewhere
const edits = new Map(); // by photograph, what to go back to, and forth
const sights = new Map(); // by row, the pixels of its thumbnail, or the promise of them

const panel = find("#hints"), plane = find("#plane"), hueSlider = find("#hue"), chromaSlider = find("#chroma");
const radiusSlider = find("#radius");
const shownRow = () => chosen[current];
const longer = (row) => Math.max(data.width[row], data.height[row]);
const hintsOf = (row) => guided[key(row)] ?? data.hints[row] ?? [];
const abOf = (hint) => (hint.color === "none" ? [0, 0] : labOf(levelsIn(hint.color)).slice(1));

// ---- the thumbnail's pixels: those of a file beside the page are kept from scripts

function see(row) {
  if (sights.has(row)) return sights.get(row);
  const picture = thumbnail(row);
  if (!picture) return null;
  const image = new Image();
  image.src = `data:image/jpeg;base64,${picture.jpeg}`;
  sights.set(row, image.decode().then(() => {
    const sight = pixelsOf(image);
    sights.set(row, sight);
    if (viewer.open && row === shownRow()) showPanel();
    return sight;
  }));
  if (sights.size > SIGHTS_KEPT) sights.delete(sights.keys().next().value);
  return sights.get(row);
}

function pixelsOf(image, scale = 1) {
  const [width, height] = [image.naturalWidth, image.naturalHeight].map((side) => Math.max(1, Math.round(scale * side)));
  const context = element("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

// CIE Lab of a few pixels around a place, or null as long as they are not there.
function labAt(row, x, y) {
  const sight = see(row);
  if (!(sight instanceof ImageData)) return null;
  const at = (part, size) => Math.min(size - 1, Math.max(0, Math.floor(part * size)));
  const column = at(x / data.width[row], sight.width), line = at(y / data.height[row], sight.height);
  const sum = [0, 0, 0];
  let count = 0;
  for (let j = Math.max(0, line - 1); j <= Math.min(sight.height - 1, line + 1); j++)
    for (let i = Math.max(0, column - 1); i <= Math.min(sight.width - 1, column + 1); i++, count++)
      labOf(sight.data.slice(4 * (j * sight.width + i), 4 * (j * sight.width + i) + 3)).forEach((v, k) => (sum[k] += v));
  return sum.map((v) => v / count);
}

const colorAt = (row, hint, ab) => colorOf(fitting([labAt(row, hint.x, hint.y)?.[0] ?? 50, ...ab]));

// What the network takes for the likeliest there: the number of columns of a grid, then five pairs of a and b for each
// of its places. Nothing without a network.
function likeliest(row, { x, y }) {
  const bytes = home.likeliest(row);
  if (!bytes) return [];
  const columns = bytes[0], lines = (bytes.length - 1) / (10 * columns);
  const column = Math.min(columns - 1, Math.floor((x * columns) / data.width[row]));
  const line = Math.min(lines - 1, Math.floor((y * lines) / data.height[row]));
  const first = 1 + 10 * (line * columns + column);
  return [0, 2, 4, 6, 8].map((i) => [bytes[first + i], bytes[first + i + 1]]);
}

// ---- changing them

function stateOf(row) {
  return { hints: guided[key(row)], decision: decided[key(row)] };
}

function setState(row, { hints, decision }) {
  const set = (all, value) => (value === undefined ? delete all[key(row)] : (all[key(row)] = value));
  set(guided, hints);
  set(decided, decision);
  if (selected >= hintsOf(row).length) selected = null;
  settle(row);
  if (viewer.open && row === shownRow()) showHints();
  home.hinted(row);
}

// What is done in one go, such as a slider's way, is undone in one go: it has the same word in `gesture`.
function edit(row, hints, gesture = null) {
  const steps = edits.get(key(row)) ?? { done: [], undone: [] };
  edits.set(key(row), steps);
  if (!gesture || steps.done.at(-1)?.gesture !== gesture) steps.done.push({ ...stateOf(row), gesture });
  steps.undone = [];
  const asBefore = JSON.stringify(hints) === JSON.stringify(data.hints[row] ?? []);
  const decision = decided[key(row)] === "redo" ? undefined : decided[key(row)];
  setState(row, asBefore ? { decision } : { hints, decision: "redo" });
}

function change(row, index, what, gesture) {
  edit(row, hintsOf(row).map((hint, i) => (i === index ? { ...hint, ...what } : hint)), gesture);
}

function goTo(from, to) {
  const row = shownRow(), steps = edits.get(key(row));
  if (!steps?.[from].length) return;
  const step = steps[from].pop();
  steps[to].push({ ...stateOf(row), gesture: step.gesture });
  setState(row, step);
}

const unkept = new Set(); // rows
let settling;
function settle(row) {
  unkept.add(row);
  clearTimeout(settling);
  settling = setTimeout(keepHints, SETTLED);
}

function keepHints() {
  for (const row of unkept) home.remember(row);
  if (unkept.size) showDecisions();
  unkept.clear();
}

// A color at the place of a hint that was made with the chroma `ab`.
const paint = (row, index, ab, gesture) =>
  change(row, index, { color: colorAt(row, hintsOf(row)[index], ab) }, gesture);

function within(row, { x, y }) {
  const inside = (value, size) => Math.min(size, Math.max(0, Math.round(value)));
  return { x: inside(x, data.width[row]), y: inside(y, data.height[row]) };
}

// `ab` is the chroma before the way began: on it there may be places too dark or too light for it.
function move(row, index, place, ab, gesture) {
  const to = within(row, place), { color } = hintsOf(row)[index];
  change(row, index, { ...to, color: color === "none" ? color : colorAt(row, to, ab) }, gesture);
}

async function add(row, place) {
  await see(row);
  const at = within(row, place), lab = labAt(row, at.x, at.y);
  if (!lab || row !== shownRow()) return;
  edit(row, [...hintsOf(row), { ...at, color: colorOf(lab), radius: 0 }]);
  select(hintsOf(row).length - 1);
}

function remove(row, index) {
  edit(row, hintsOf(row).filter((_, i) => i !== index));
  select(null);
  stage.focus({ preventScroll: true });
}

// The chroma of a place of any photograph, for the hint that waits for it.
async function pick(row, place) {
  const { row: to, index } = picking;
  await see(row);
  const lab = labAt(row, place.x, place.y);
  if (!lab || !picking) return;
  picking = null;
  if (to !== row && chosen.includes(to)) look(chosen.indexOf(to));
  await see(to);
  paint(to, index, lab.slice(1));
  if (to === shownRow()) select(index);
}

// ---- showing them

function showHints() {
  const box = find(".stage .comparison"), row = shownRow();
  if (!box) return;
  let rings = box.querySelector(".hints");
  if (!rings) {
    rings = element("div", { className: "hints" }, element("span", { className: "cross" }));
    box.append(rings);
  }
  rings.inert = !hinting;
  const hints = hintsOf(row), there = rings.querySelectorAll(".ring");
  for (let i = hints.length; i < there.length; i++) there[i].remove();
  hints.forEach((hint, i) => {
    const ring = there[i] ?? makeRing(rings);
    const lab = [labAt(row, hint.x, hint.y)?.[0] ?? 50, ...abOf(hint)];
    ring.style.left = `${(100 * hint.x) / data.width[row]}%`;
    ring.style.top = `${(100 * hint.y) / data.height[row]}%`;
    ring.style.setProperty("--color", hint.color === "none" ? colorOf([lab[0], 0, 0]) : hint.color);
    ring.style.setProperty("--radius", `${(hint.radius * box.clientWidth) / data.width[row]}px`);
    ring.classList.toggle("without", hint.color === "none");
    ring.setAttribute("aria-label", `Hint ${i + 1}: ${hint.color === "none" ? "no colour" : nameOf(lab)}`);
    ring.setAttribute("aria-pressed", i === selected);
  });
  cross ??= { x: data.width[row] / 2, y: data.height[row] / 2 };
  const mark = rings.querySelector(".cross");
  mark.style.left = `${(100 * cross.x) / data.width[row]}%`;
  mark.style.top = `${(100 * cross.y) / data.height[row]}%`;
  showPanel();
}

function makeRing(rings) {
  const ring = element("button", { type: "button", className: "ring" });
  const place = () => [...rings.querySelectorAll(".ring")].indexOf(ring);
  let drag = null;
  ring.addEventListener("pointerdown", (event) => {
    event.stopPropagation(); // the comparison keeps still
    if (event.button) return;
    ring.setPointerCapture(event.pointerId);
    drag = { ab: abOf(hintsOf(shownRow())[place()]), gesture: `drag ${event.timeStamp}`, x: event.x, y: event.y };
  });
  ring.addEventListener("pointermove", (event) => {
    if (!drag || (!drag.moved && Math.hypot(event.x - drag.x, event.y - drag.y) < 4)) return;
    if (!drag.moved) select(place());
    drag.moved = true;
    move(shownRow(), place(), placeOf(event), drag.ab, drag.gesture);
  });
  for (const end of ["pointerup", "pointercancel"]) ring.addEventListener(end, () => (drag = null));
  ring.addEventListener("contextmenu", (event) => {
    event.preventDefault();
    if (event.pointerType !== "touch") remove(shownRow(), place());
  });
  ring.addEventListener("click", (event) => {
    if (picking) return;
    select(place());
    if (!event.detail) firstSwatch()?.focus(); // by keyboard
  });
  rings.append(ring);
  return ring;
}

function placeOf(event) {
  const { left, top, width, height } = find(".stage .comparison").getBoundingClientRect(), row = shownRow();
  return { x: ((event.clientX - left) / width) * data.width[row], y: ((event.clientY - top) / height) * data.height[row] };
}

function select(index) {
  selected = index;
  showHints();
}

const firstSwatch = () => panel.querySelector("#likeliest button, #hue");

function swatch(lab) {
  const color = colorOf(lab), made = element("button", { type: "button", className: "swatch", title: color });
  made.style.setProperty("--color", color);
  made.setAttribute("aria-label", nameOf(lab));
  made.addEventListener("click", () => paint(shownRow(), selected, lab.slice(1)));
  return made;
}

function showPanel() {
  const row = shownRow(), hints = hintsOf(row), hint = hints[selected];
  panel.hidden = !hinting;
  viewer.classList.toggle("hinting", hinting);
  find("[data-do=hints]").setAttribute("aria-pressed", hinting);
  find("[data-do=hints]").disabled = !thumbnail(row);
  if (!hinting) return;
  for (const [name, steps] of [["undo", "done"], ["again", "undone"]])
    find(`[data-do=${name}]`).disabled = !edits.get(key(row))?.[steps].length;
  find("[data-do=offer]").disabled = !hints.length;
  find("#one").hidden = !hint;
  find("[data-do=pick]").setAttribute("aria-pressed", Boolean(picking));
  viewer.classList.toggle("picking", Boolean(picking));
  const lab = hint && [labAt(row, hint.x, hint.y)?.[0] ?? 50, ...abOf(hint)];
  find("#told").textContent = picking
    ? "Point at the colour to take, here or in another photograph."
    : hint
      ? `Hint ${selected + 1} of ${hints.length}: ${hint.color === "none" ? "no colour" : nameOf(lab)}`
      : "Point at a place whose colour you know.";
  if (!hint) return;
  find("[data-do=none]").setAttribute("aria-pressed", hint.color === "none");
  showSwatches(row, hint, lab[0]);
  showPlane(lab);
  radiusSlider.value = hint.radius / longer(row);
  radiusSlider.setAttribute("aria-valuetext", `${count(Math.round(hint.radius))} pixels`);
}

let swatches = ""; // what they are for, so that those that have the focus stay
function showSwatches(row, hint, L) {
  const offered = [];
  for (const ab of likeliest(row, hint)) {
    const lab = fitting([L, ...ab]); // in the dark and the light many become one
    if (offered.every(([, a, b]) => Math.hypot(a - lab[1], b - lab[2]) > ALIKE)) offered.push(lab);
  }
  const now = JSON.stringify(offered);
  if (now !== swatches) find("#likeliest").replaceChildren(...offered.map(swatch));
  swatches = now;
  find("#likeliest").hidden = !offered.length;
}

let drawn = {};
function showPlane([L, a, b]) {
  const chroma = Math.hypot(a, b);
  if (chroma > 0.5) dial.hue = Math.atan2(b, a);
  dial.chroma = Math.min(1, chroma / mostChroma(L, dial.hue));
  if (drawn.L !== L) drawPlane(L);
  const mark = find("#plane + span");
  mark.style.left = `${50 + (50 * (a - drawn.a)) / drawn.reach}%`;
  mark.style.top = `${50 - (50 * (b - drawn.b)) / drawn.reach}%`;
  hueSlider.value = Math.round((dial.hue * 180) / Math.PI + 360) % 360;
  hueSlider.setAttribute("aria-valuetext", nameOf(fitting([L, 40 * Math.cos(dial.hue), 40 * Math.sin(dial.hue)])));
  chromaSlider.value = Math.round(100 * dial.chroma);
}

// All colors of a lightness, in the middle of the plane and as large as it holds them.
function drawPlane(L) {
  const edge = Array.from({ length: 72 }, (_, i) => {
    const hue = (i * Math.PI) / 36, chroma = mostChroma(L, hue);
    return [chroma * Math.cos(hue), chroma * Math.sin(hue)];
  });
  const [[left, right], [bottom, top]] = [0, 1].map((i) => edge.map((ab) => ab[i])).map(
    (values) => [Math.min(...values), Math.max(...values)]);
  const reach = Math.max(1, 0.52 * Math.max(right - left, top - bottom));
  drawn = { L, a: (left + right) / 2, b: (bottom + top) / 2, reach };
  const { width, height } = plane, context = plane.getContext("2d"), image = context.createImageData(width, height);
  for (let j = 0; j < height; j++)
    for (let i = 0; i < width; i++) {
      const lab = [L, ...onPlane((i + 0.5) / width, (j + 0.5) / height)];
      if (exists(lab)) image.data.set([...levelsOf(lab), 255], 4 * (j * width + i));
    }
  context.putImageData(image, 0, 0);
}

const onPlane = (x, y) => [drawn.a + drawn.reach * (2 * x - 1), drawn.b + drawn.reach * (1 - 2 * y)];

function takeFromPlane(event) {
  if (event.type === "pointerdown") {
    plane.setPointerCapture(event.pointerId);
    plane.gesture = `plane ${event.timeStamp}`;
  } else if (!plane.hasPointerCapture(event.pointerId)) return;
  const { left, top, width, height } = plane.getBoundingClientRect();
  const ab = onPlane((event.clientX - left) / width, (event.clientY - top) / height);
  paint(shownRow(), selected, ab, plane.gesture);
}

function takeFromDial(gesture) {
  const row = shownRow(), hint = hintsOf(row)[selected], hue = (hueSlider.value * Math.PI) / 180;
  const chroma = (chromaSlider.value / 100) * mostChroma(labAt(row, hint.x, hint.y)?.[0] ?? 50, hue);
  dial.hue = hue;
  paint(row, selected, [chroma * Math.cos(hue), chroma * Math.sin(hue)], `${gesture} ${selected}`);
}

// ---- what people do

Object.assign(ACTIONS, {
  hints: () => {
    if (find("[data-do=hints]").disabled) return;
    hinting = !hinting;
    picking = null;
    selected = null;
    showPanel(); // first, since it takes room
    showPicture();
    if (hinting) stage.focus({ preventScroll: true });
  },
  none: () => change(shownRow(), selected, { color: "none" }),
  pick: () => {
    picking = picking ? null : { row: shownRow(), index: selected };
    showPanel();
    if (picking) stage.focus({ preventScroll: true });
  },
  remove: () => remove(shownRow(), selected),
  undo: () => goTo("done", "undone"),
  again: () => goTo("undone", "done"),
});

function pointAt(place) {
  return picking ? pick(shownRow(), place) : add(shownRow(), place);
}

stage.addEventListener("click", (event) => {
  const ring = event.target.closest(".ring");
  if (hinting && event.target.closest(".comparison") && (picking || !ring)) pointAt(placeOf(event));
});
for (const type of ["pointerdown", "pointermove"]) plane.addEventListener(type, takeFromPlane);
hueSlider.addEventListener("input", () => takeFromDial("hue"));
chromaSlider.addEventListener("input", () => takeFromDial("chroma"));
radiusSlider.addEventListener("input", () => {
  const row = shownRow();
  change(row, selected, { radius: Math.round(radiusSlider.value * longer(row)) }, `radius ${selected}`);
});
addEventListener("pagehide", keepHints);

// Whether a key in the viewer was about hints.
function keyOnHints(event) {
  const pressed = event.key.toLowerCase(), { target } = event;
  if ((event.ctrlKey || event.metaKey) && !event.altKey && ["z", "y"].includes(pressed) && hinting) {
    ACTIONS[pressed === "y" || event.shiftKey ? "again" : "undo"]();
    return true;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  if (pressed === "h") {
    ACTIONS.hints();
    return true;
  }
  if (!hinting) return false;
  if (pressed === "escape") {
    if (picking) ACTIONS.pick();
    else if (target === stage) ACTIONS.hints();
    else stage.focus({ preventScroll: true });
    return true;
  }
  const ring = target.closest(".ring"), row = shownRow();
  const index = ring ? [...find(".stage").querySelectorAll(".ring")].indexOf(ring) : selected;
  if ((pressed === "delete" || pressed === "backspace") && index !== null) {
    remove(row, index);
    return true;
  }
  const [dx, dy] = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] }[pressed] ?? [0, 0];
  const step = Math.max(1, longer(row) * (event.shiftKey ? FINE_STEP : STEP));
  if ((dx || dy) && ring) {
    const hint = hintsOf(row)[index], gesture = `keys ${index}`;
    const last = edits.get(key(row))?.done.at(-1);
    const before = last?.gesture === gesture ? (last.hints ?? data.hints[row])[index] : hint;
    selected = index;
    move(row, index, { x: hint.x + dx * step, y: hint.y + dy * step }, abOf(before), gesture);
    return true;
  }
  if (target === stage && (dx || dy)) {
    cross = within(row, { x: cross.x + dx * step, y: cross.y + dy * step });
    showHints();
    find(".stage .cross").scrollIntoView({ block: "nearest", inline: "nearest" });
    return true;
  }
  if (target === stage && pressed === "enter") {
    pointAt(cross).then(() => firstSwatch()?.focus());
    return true;
  }
  return (dx || dy) && panel.contains(target) && target.type !== "range"; // else the next photograph would come
}
