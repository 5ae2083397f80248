// The page at home on a server of its own (colorize review OUTPUT --serve): hints are coloured at once, decisions are kept
// on disk, and applied on a click. The server puts what is kept into `saved`.
"use strict";

const POLL = 1000; // milliseconds
const guesses = new Map(); // the likeliest colors, by row; null as long as they are on their way
let wanted = null, busy = false; // the row to colour next; whether one is being coloured
let keeping = Promise.resolve(); // until everything is kept

async function ask(place, method = "GET", body = null, more = {}) {
  const options = { method, ...more };
  if (body) Object.assign(options, { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
  const answer = await fetch(place, options);
  if (!answer.ok) throw new Error((await answer.text()) || `status ${answer.status}`);
  return answer;
}

const complain = (what) => (error) => {
  const text = `${what}: ${error.message === "Failed to fetch" ? "the server does not answer" : error.message}`;
  say(text);
  find("#told").textContent = text;
};

Object.assign(home, {
  recall() {
    decided = {};
    guided = {};
    data.id.forEach((id, row) => {
      if (!saved[id]) return;
      decided[key(row)] = saved[id].decision;
      if (saved[id].hints) guided[key(row)] = saved[id].hints;
    });
  },
  remember(row) {
    const said = { decision: decided[key(row)] ?? null, hints: guided[key(row)] ?? null };
    const kept = ask(`decisions/${data.id[row]}`, "PUT", said, { keepalive: true }).catch(complain("Not saved"));
    keeping = Promise.all([keeping, kept]);
    return true;
  },
  picture: (row) => larger(row) ?? (opens(row) ? `picture/${data.id[row]}` : null),
  originals: (row) => [
    ["Original", source(row)],
    ["Colour", element("a", { href: `picture/${data.id[row]}`, target: "_blank", rel: "noopener" }, file(row))],
  ],
  likeliest(row) {
    if (!guesses.has(row)) {
      guesses.set(row, null);
      ask(`likeliest/${data.id[row]}`)
        .then((answer) => answer.arrayBuffer())
        .then((bytes) => guesses.set(row, bytes.byteLength ? new Int8Array(bytes) : null))
        .then(() => viewer.open && row === shownRow() && showPanel())
        .catch(complain("No likeliest colours"));
    }
    return guesses.get(row);
  },
  hinted(row) {
    if (!guided[key(row)]) return viewer.open && row === shownRow() && showPicture();
    wanted = row;
    if (!busy) colour();
  },
});

// The last wish, after the one that is being done: a slider has many.
async function colour() {
  busy = true;
  while (wanted !== null) {
    const row = wanted;
    wanted = null;
    try {
      const answer = await ask(`live/${data.id[row]}`, "POST", { hints: hintsOf(row) });
      await showLive(row, URL.createObjectURL(await answer.blob()));
    } catch (error) {
      complain("Not coloured")(error);
    }
  }
  busy = false;
}

async function showLive(row, url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const there = viewer.open && row === shownRow() && guided[key(row)] ? [...stage.querySelectorAll("img")] : [];
  const before = there[0]?.src;
  for (const shown of there) shown.src = url;
  if (before?.startsWith("blob:")) URL.revokeObjectURL(before);
  if (!there.length) return URL.revokeObjectURL(url);
  sights.set(row, pixelsOf(image, THUMBNAIL / Math.max(image.naturalWidth, image.naturalHeight)));
  return showPanel();
}

// ---- applying

const apply = element("button", { type: "button", id: "apply" }, "Apply");
find(".export").append(apply);
apply.addEventListener("click", async () => {
  keepHints();
  apply.disabled = true;
  try {
    await keeping;
    await ask("apply", "POST", {});
    await follow();
  } catch (error) {
    complain("Not applied")(error);
    apply.disabled = false;
  }
});

// The job, until it has ended.
async function follow() {
  for (;;) {
    const { running, status, line } = await (await ask("job/progress")).json();
    if (status === null && !running) return;
    if (!running && (status === 0 || status === 3)) return location.reload();
    say(`Applying: ${line}`);
    apply.disabled = running;
    if (!running) return;
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
}
