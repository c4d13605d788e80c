// What pages that show rationales share: names, colours, lines, levels. A page has its `mechanisms` and `levels` as data.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const { mechanisms, levels } = data;
const NAMES = mechanisms.map((name) => (name[0].toUpperCase() + name.slice(1)).replaceAll("_", " "));
const SHORT = { emotional_reactions: "ER", interpretations: "IP", explorations: "EX" };
const TAGS = mechanisms.map((name) => SHORT[name]);
const byId = (id) => document.getElementById(id);

/** An element with a class and children; strings become text, never markup. */
function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

// ---- rationales -------------------------------------------------------------------------------------------------

const LINES = [ // solid, dashed, dotted: told apart without colour
  (colour) => `linear-gradient(${colour}, ${colour})`,
  (colour) => `repeating-linear-gradient(90deg, ${colour} 0 9px, transparent 9px 13px)`,
  (colour) => `repeating-linear-gradient(90deg, ${colour} 0 2px, transparent 2px 5px)`,
];

/** The line of each mechanism, 0 nearest the edge: one further in than those of earlier mechanisms that it overlaps. */
function linesOf(spans, shown) {
  const overlap = (m, n) => spans[m].some(([a, b]) => spans[n].some(([c, d]) => a < d && c < b));
  const lines = [];
  shown.forEach((m) => { lines[m] = Math.max(0, ...shown.filter((n) => n < m && overlap(m, n)).map((n) => lines[n] + 1)); });
  return lines;
}

/** Lines above for gold and below for predicted rationales, a place a mechanism, and a band of tint for each predicted. */
function paint(element, predicted, gold, places) {
  const colour = (m) => `var(--m${m})`, at = (m, line) => `${4 * line[m]}px`;
  const layers = [
    ...gold.map((m) => [LINES[m](colour(m)), `0 ${at(m, places.gold)}`, "100% 2px"]),
    ...predicted.map((m) => [LINES[m](colour(m)), `0 calc(100% - ${at(m, places.predicted)})`, "100% 2px"]),
    ...predicted.map((m, index) => {
      const tint = `color-mix(in srgb, ${colour(m)} var(--tint), transparent)`, band = 100 / predicted.length;
      return [`linear-gradient(transparent ${band * index}%, ${tint} 0 ${band * (index + 1)}%, transparent 0)`, "0 0", "100% 100%"];
    }),
  ];
  ["Image", "Position", "Size"].forEach((part, index) => {
    element.style[`background${part}`] = layers.map((layer) => layer[index]).join(", ");
  });
}

/** The response of a row (`response`, `spans`, `goldSpans`) cut at every span's ends; a tag stands where a rationale begins. */
function response(row, shown) {
  const paragraph = make("p", "response");
  const places = { predicted: linesOf(row.spans, shown), gold: linesOf(row.goldSpans, shown) };
  const cuts = new Set([0, row.response.length]);
  shown.forEach((m) => [...row.spans[m], ...row.goldSpans[m]].forEach((span) => span.forEach((at) => cuts.add(at))));
  const ends = [...cuts].sort((a, b) => a - b);
  const covering = (spans, at) => shown.filter((m) => spans[m].some(([start, end]) => start <= at && at < end));
  let before = [];
  ends.slice(1).forEach((end, index) => {
    const start = ends[index], predicted = covering(row.spans, start), gold = covering(row.goldSpans, start);
    const here = shown.filter((m) => predicted.includes(m) || gold.includes(m));
    here.filter((m) => !before.includes(m)).forEach((m) => {
      const whose = [predicted.includes(m) && "model", gold.includes(m) && "annotators"].filter(Boolean).join(" and ");
      paragraph.append(make("span", `tag m${m}`, TAGS[m], make("span", "unseen", ` rationale of ${whose}: `)));
    });
    const piece = make(here.length ? "mark" : "span", "", row.response.slice(start, end));
    piece.dataset.predicted = predicted.map((m) => TAGS[m]).join(" ");
    piece.dataset.gold = gold.map((m) => TAGS[m]).join(" ");
    paint(piece, predicted, gold, places);
    paragraph.append(piece);
    before = here;
  });
  return paragraph;
}

// ---- levels -----------------------------------------------------------------------------------------------------

/** A mechanism's level and probabilities; `row.gold` is left out where there can't be any. */
function score(row, m, on) {
  const predicted = row.levels[m], gold = row.gold?.[m], shares = row.probabilities[m];
  const known = gold !== null && gold !== undefined, wrong = predicted !== null && known && predicted !== gold;
  let verdict = predicted === null ? "not predicted" : levels[predicted];
  if (gold === null) verdict += " · no gold";
  else if (known && predicted !== null) verdict = wrong ? `✗ ${verdict}, gold ${levels[gold]}` : `✓ ${verdict}`;
  const box = make("div", `score m${m}${wrong ? " wrong" : ""}${on ? "" : " off"}`,
    make("div", "what", make("b", "", NAMES[m]), make("span", "verdict", verdict)));
  if (shares) {
    box.append(make("div", "shares", ...shares.map((share, level) => {
      const bar = make("i");
      bar.style.setProperty("--w", `${100 * share}%`);
      return make("div", `share${level === predicted ? " top" : ""}${level === gold ? " gold" : ""}`,
        bar, `${levels[level]} ${share.toFixed(2)}`);
    })));
  }
  return box;
}

/** How a rationale of a mechanism looks. */
function sample(m) {
  const painted = make("mark", "", NAMES[m]);
  paint(painted, [m], [], { predicted: mechanisms.map(() => 0) });
  return make("span", "", make("span", `tag m${m}`, TAGS[m]), painted);
}
