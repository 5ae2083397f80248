// The page of an archive with more photographs than a page can show: which of them it has, and what those that were
// chosen by chance tell of all.
"use strict";

const WITHIN = 1.96; // standard deviations of a normal distribution within which 95 % of it lie
const WHICH = { random: "Chosen by chance", doubtful: "The most doubtful", folders: "The most doubtful of each folder" };

let sample = null; // see page.py; null where the page has all

const statuses = () => {
  const counts = { ok: 0, error: 0, skipped: 0 };
  for (let row = 0; row < data.id.length; row++) counts[status(row)]++;
  return counts;
};

const countOf = (reason, rows) =>
  sample?.reasons.find(({ status, text }) => text === reason && status === form.elements.show.value)?.count ?? rows.length;

// Choices of what to show, beside those of every page.
function startSample() {
  sample = data.sample;
  if (!sample) return [];
  for (const name of Object.keys(WHICH)) {
    const rows = new Set(sample[name]);
    SHOWN[name] = (row) => rows.has(row);
  }
  const ranks = new Map(sample.random.map((row, rank) => [row, rank]));
  ORDERS.random = (row) => ranks.get(row);
  const shown = statuses().ok, [random, doubtful, folders] = Object.keys(WHICH).map((name) => count(sample[name].length));
  find("#sampled").hidden = find("#estimate").hidden = false;
  find("#sampled").textContent = `This page shows ${count(shown)} of ${count(sample.counts.ok)} coloured photographs: ` +
    `the ${doubtful} most doubtful of all, ${folders} that are the most doubtful of their folders (up to ` +
    `${sample.perFolder} of each), and ${random} chosen by chance; and of what failed each reason, with a few examples.`;
  return Object.entries(WHICH).map(([name, text]) => [name, `${text} (${count(sample[name].length)})`]);
}

// The share of all of which `found` of `judged` were found: Wilson's interval, 95 %.
function interval(found, judged) {
  const square = WITHIN ** 2 / judged, share = found / judged, middle = (share + square / 2) / (1 + square);
  const reach = (Math.sqrt((share * (1 - share) * square) + square ** 2 / 4)) / (1 + square);
  return [found ? middle - reach : 0, found < judged ? middle + reach : 1];
}

const percent = (share) => `${Number((100 * share).toPrecision(2))} %`;

// Only those that were judged one after the other count: whoever looks at the doubtful ones first, and so judges those by
// chance that are doubtful, would take the archive for worse than it is.
function showEstimate() {
  if (!sample) return;
  const decisions = sample.random.map(decision), all = count(sample.counts.ok), chosen = count(sample.random.length);
  const gap = decisions.indexOf(null), judged = gap < 0 ? decisions.length : gap;
  const later = decisions.filter(Boolean).length - judged;
  const of = (wish) => decisions.slice(0, judged).filter((said) => said === wish).length;
  const between = (wish, words) => {
    const [low, high] = interval(of(wish), judged).map(percent);
    return `between ${low} and ${high} of all ${all} would be ${words}`;
  };
  const parts = judged
    ? [`Of ${chosen} chosen by chance you have judged ${count(judged)} and rejected ${count(of("reject"))}: ` +
      `${between("reject", "rejected")}, with 95 % confidence.`]
    : [`Judge those chosen by chance, in their order: from them the page estimates how many of all ${all} you would reject.`];
  if (judged && of("redo")) parts.push(`To be redone are ${count(of("redo"))}: ${between("redo", "redone")}.`);
  if (later) parts.push(`${count(later)} further on count once those before them are judged.`);
  find("#estimate").textContent = parts.join(" ");
}
