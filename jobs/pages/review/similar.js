// One answer, many photographs: the hints of the photograph in the viewer are offered to others of its folder and shape.
// The page shows them, those that look alike first and chosen; the person says which.
"use strict";

const NEIGHBOURS = 60; // photographs that are looked at: the nearest by name, as in a series
const SIDE = 16; // pixels, of what is compared
const NEARLY_SAME = 0.95; // correlation of near-duplicates, at least
const SHAPES = 0.05; // difference in proportions

const offer = find("#offer");
let offering = null; // the row whose hints are offered

const proportions = (row) => Math.log(data.width[row] / data.height[row]);

function neighbours(row) {
  const found = [];
  for (let other = 0; other < data.id.length; other++)
    if (other !== row && status(other) === "ok" && data.folder.of[other] === data.folder.of[row] &&
      Math.abs(proportions(other) - proportions(row)) < SHAPES)
      found.push(other);
  return found.sort((a, b) => Math.abs(a - row) - Math.abs(b - row)).slice(0, NEIGHBOURS);
}

async function imageOf(row) {
  for (let tries = 0; tries < 200; tries++) {
    const picture = thumbnail(row);
    if (picture) {
      const image = new Image();
      image.src = `data:image/jpeg;base64,${picture.jpeg}`;
      await image.decode();
      return image;
    }
    await new Promise((done) => setTimeout(done, 50)); // its script is on its way
  }
  return null;
}

// Its lightness in 16 x 16 places, with a mean of zero and a length of one, so that products are correlations.
function printOf(image) {
  const context = element("canvas", { width: SIDE, height: SIDE }).getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, SIDE, SIDE);
  const { data: levels } = context.getImageData(0, 0, SIDE, SIDE);
  const light = Array.from({ length: SIDE * SIDE }, (_, i) => labOf(levels.slice(4 * i, 4 * i + 3))[0]);
  const mean = light.reduce((sum, L) => sum + L) / light.length;
  const length = Math.hypot(...light.map((L) => L - mean)) || 1;
  return light.map((L) => (L - mean) / length);
}

async function showSimilar() {
  offering = shownRow();
  const row = offering, told = find("#offer-told"), hints = hintsOf(row).length;
  find("#offered").replaceChildren();
  told.textContent = "Looking …";
  offer.showModal();
  const own = await imageOf(row), print = own && printOf(own), found = [];
  for (const other of print ? neighbours(row) : []) {
    const image = await imageOf(other);
    if (image) found.push({ other, image, likeness: printOf(image).reduce((sum, L, i) => sum + L * print[i], 0) });
  }
  if (row !== offering || !offer.open) return;
  found.sort((a, b) => b.likeness - a.likeness);
  find("#offered").replaceChildren(...found.map(({ other, image, likeness }) => {
    const box = element("input", { type: "checkbox", value: other, checked: likeness >= NEARLY_SAME });
    image.alt = "";
    return element("li", {}, element("label", {}, image, element("span", {}, box, ` ${data.name[other]}`)));
  }));
  const which = "of its folder and shape, those that look alike first";
  told.textContent = found.length
    ? `${count(hints)} ${hints === 1 ? "hint" : "hints"} for which of these? They are ${which}.`
    : "There is no other photograph of its folder and shape.";
  find("[data-do=give]").disabled = !found.length;
}

// The same places, and colours of the same chroma at their lightness.
async function give(row, from) {
  await imageOf(row);
  await see(row);
  const given = hintsOf(from).map((hint) => {
    const scale = data.width[row] / data.width[from];
    const at = within(row, { x: hint.x * scale, y: (hint.y * data.height[row]) / data.height[from] });
    const color = hint.color === "none" ? hint.color : colorAt(row, at, abOf(hint));
    return { ...at, color, radius: Math.round(hint.radius * scale) };
  });
  edit(row, [...hintsOf(row), ...given]);
}

Object.assign(ACTIONS, { offer: showSimilar });
offer.addEventListener("click", async (event) => {
  const wish = event.target.closest("button")?.dataset.do;
  if (!wish) return;
  const rows = [...offer.querySelectorAll("input:checked")].map((box) => Number(box.value));
  offer.close();
  if (wish !== "give") return;
  for (const row of rows) await give(row, offering);
  keepHints();
  find("#told").textContent = `Given to ${count(rows.length)} ${rows.length === 1 ? "photograph" : "photographs"}`;
});
