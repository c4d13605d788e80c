// The page of a run's predictions; `rationale_marks.js` stands before it.
const { rows } = data;
const used = mechanisms.map((_, m) => rows.some((row) => row.levels[m] !== null || row.gold[m] !== null));
const filter = Object.fromEntries(
  ["search", "mechanism", "predicted", "gold", "source", "answers"].map((id) => [id, byId(id)]));

const chosen = () => (filter.mechanism.value === "" ? null : Number(filter.mechanism.value));

function rowArticle(index) {
  const row = rows[index], only = chosen();
  const shown = mechanisms.map((_, m) => m).filter((m) => used[m]);
  const text = make("div", "text");
  if (row.response === undefined) {
    text.append(make("p", "withheld", "The text of this row isn't in this page."));
  } else {
    if (row.seeker) text.append(make("blockquote", "seeker", make("span", "unseen", "Seeker post: "), row.seeker));
    text.append(response(row, only === null ? shown : [only]));
  }
  const name = make("h3", "name", make("b", "", row.id), make("span", "", row.source));
  if (row.split) name.append(make("span", "", row.split));
  const scores = make("div", "scores", ...shown.map((m) => score(row, m, only === null || only === m)));
  const article = make("article", "", name, text, scores);
  article.tabIndex = -1;
  article.dataset.row = index;
  return article;
}

// ---- the list: chunks of rows, written only while they are near the screen --------------------------------------

const CHUNK = 20;
const ROW_HEIGHT = matchMedia("(max-width: 60rem)").matches ? 430 : 240; // a guess for chunks that were never written
let visible = []; // indices of the rows that the filters leave
let chunks = [];

const near = new IntersectionObserver((entries) => entries.forEach(({ isIntersecting, target }) => {
  if (isIntersecting) write(target);
  else if (target.hasChildNodes() && !target.contains(document.activeElement)) {
    target.style.minHeight = `${target.offsetHeight}px`;
    target.replaceChildren();
  }
}), { rootMargin: "1200px 0px" });

function write(chunk) {
  if (chunk.hasChildNodes()) return;
  const from = chunks.indexOf(chunk) * CHUNK;
  chunk.replaceChildren(...visible.slice(from, from + CHUNK).map(rowArticle));
  chunk.style.minHeight = "";
}

/** The article at a position of the visible rows, written if need be. */
function articleAt(position) {
  const chunk = chunks[Math.floor(position / CHUNK)];
  write(chunk);
  return chunk.children[position % CHUNK];
}

const firstOnScreen = () => [...document.querySelectorAll("article")].find((a) => a.getBoundingClientRect().bottom > 100);

/** Lays the visible rows out anew and stays at the row that was on the screen. */
function layOut() {
  const scrolled = byId("rows").getBoundingClientRect().top < 0 && firstOnScreen();
  near.disconnect();
  chunks = Array.from({ length: Math.ceil(visible.length / CHUNK) }, (_, n) => {
    const chunk = make("section");
    chunk.style.minHeight = `${ROW_HEIGHT * Math.min(CHUNK, visible.length - n * CHUNK)}px`;
    return chunk;
  });
  byId("rows").replaceChildren(...chunks);
  if (chunks.length) write(chunks[0]);
  if (scrolled && visible.length) {
    const position = visible.findIndex((index) => index >= Number(scrolled.dataset.row));
    articleAt(position < 0 ? visible.length - 1 : position).scrollIntoView({ block: "start" });
  }
  chunks.forEach((chunk) => near.observe(chunk));
}

// ---- filters ----------------------------------------------------------------------------------------------------

const haystack = rows.map((row) => `${row.id}\n${row.seeker ?? ""}\n${row.response ?? ""}`.toLowerCase());

const rightOf = (row, m) => row.levels[m] !== null && row.gold[m] !== null && row.levels[m] === row.gold[m];
const wrongOf = (row, m) => row.levels[m] !== null && row.gold[m] !== null && row.levels[m] !== row.gold[m];

/** Whether a mechanism of the row has the chosen levels and answer; without a chosen one, any may. */
function matches(row, candidates) {
  const { predicted, gold, answers } = filter;
  if (answers.value === "right" && candidates.some((m) => wrongOf(row, m))) return false;
  return candidates.some((m) =>
    (predicted.value === "" || row.levels[m] === Number(predicted.value)) &&
    (gold.value === "" || row.gold[m] === Number(gold.value)) &&
    (answers.value === "" || (answers.value === "wrong" ? wrongOf(row, m) : rightOf(row, m))));
}

function update() {
  const needle = filter.search.value.trim().toLowerCase(), only = chosen();
  const candidates = only === null ? mechanisms.map((_, m) => m) : [only];
  const free = [filter.mechanism, filter.predicted, filter.gold, filter.answers].every((select) => !select.value);
  const counts = mechanisms.map(() => levels.map(() => levels.map(() => 0)));
  visible = [];
  rows.forEach((row, index) => {
    if ((filter.source.value && row.source !== filter.source.value) || !haystack[index].includes(needle)) return;
    row.gold.forEach((gold, m) => {
      if (gold !== null && row.levels[m] !== null) counts[m][gold][row.levels[m]] += 1;
    });
    if (free || matches(row, candidates)) visible.push(index);
  });
  layOut();
  byId("count").textContent = `${visible.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
  byId("empty").hidden = visible.length > 0;
  mechanisms.forEach((_, m) => used[m] && drawTile(m, counts[m]));
}

function set(values) {
  Object.entries(values).forEach(([id, value]) => { filter[id].value = value; });
  update();
}

const clear = () => set({ search: "", mechanism: "", predicted: "", gold: "", source: "", answers: "" });

// ---- the tables of gold against predicted -----------------------------------------------------------------------

const tiles = mechanisms.map((_, m) => {
  const agree = make("div", "agree"), body = make("tbody");
  const cells = levels.map((gold, g) => {
    const buttons = levels.map((predicted, p) => {
      const button = make("button");
      button.type = "button";
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") === "true";
        set(on ? { mechanism: "", predicted: "", gold: "" } : { mechanism: m, predicted: p, gold: g, answers: "" });
      });
      return button;
    });
    body.append(make("tr", "", make("th", "", gold), ...buttons.map((button, p) => make("td", p === g ? "right" : "", button))));
    return buttons;
  });
  const head = make("tr", "", make("th", "corner", "gold ↓ predicted\u00a0→"), ...levels.map((level) => make("th", "", level)));
  const tile = make("section", `tile m${m}`, make("h2", "", NAMES[m]), agree, make("table", "", make("thead", "", head), body));
  return { tile, agree, cells };
});

function drawTile(m, counts) {
  const { agree, cells } = tiles[m];
  const total = counts.flat().reduce((a, b) => a + b, 0), right = levels.reduce((sum, _, g) => sum + counts[g][g], 0);
  agree.replaceChildren(total ? `${(100 * right / total).toFixed(1)} %` : "–",
    make("small", "", total ? `${right.toLocaleString("en")} of ${total.toLocaleString("en")} levels right` : "no gold levels"));
  cells.forEach((buttons, g) => buttons.forEach((button, p) => {
    const n = counts[g][p], of = counts[g].reduce((a, b) => a + b, 0);
    button.textContent = n.toLocaleString("en");
    button.title = `${NAMES[m]}: gold ${levels[g]}, predicted ${levels[p]}`;
    button.setAttribute("aria-label", `${button.title}: ${n} rows`);
    button.setAttribute("aria-pressed", [["mechanism", m], ["gold", g], ["predicted", p]]
      .every(([id, value]) => filter[id].value === String(value)));
    button.style.background = `color-mix(in srgb, var(--m${m}) ${of ? Math.round(45 * n / of) : 0}%, transparent)`;
  }));
}

// ---- keyboard ---------------------------------------------------------------------------------------------------

function step(by) {
  if (!visible.length) return;
  const now = visible.indexOf(Number(document.activeElement.dataset.row));
  const next = now >= 0 ? now + by : visible.indexOf(Number(firstOnScreen()?.dataset.row));
  const article = articleAt(Math.min(Math.max(next, 0), visible.length - 1));
  article.focus({ preventScroll: true });
  article.scrollIntoView({ block: "start" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") { clear(); document.activeElement.blur(); return; }
  if (event.target.closest("input, select")) return;
  const number = Number(event.key) - 1;
  if (event.key === "/") filter.search.focus();
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "e") set({ answers: filter.answers.value === "wrong" ? "" : "wrong" });
  else if (used[number]) set({ mechanism: chosen() === number ? "" : number });
  else return;
  event.preventDefault();
});

// ---- start ------------------------------------------------------------------------------------------------------

const option = (label, value) => new Option(label, value);
filter.mechanism.append(option("any", ""), ...NAMES.map((name, m) => option(name, m)).filter((_, m) => used[m]));
for (const id of ["predicted", "gold"]) filter[id].append(option("any level", ""), ...levels.map((level, n) => option(level, n)));
const sources = [...new Set(rows.map((row) => row.source))].sort();
filter.source.append(option("all", ""), ...sources.map((source) => option(source, source)));
filter.answers.append(option("all", ""), option("errors", "wrong"), option("right", "right"));

byId("about").textContent = `${rows.length.toLocaleString("en")} responses · ${sources.join(", ")}`;
byId("mechanisms").append(...tiles.filter((_, m) => used[m]).map(({ tile }) => tile));
byId("keys").append(...NAMES.map((_, m) => m).filter((m) => used[m]).map(sample));

let waiting;
filter.search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(update, 80); });
Object.values(filter).forEach((control) => control.addEventListener("change", update));
byId("clear").addEventListener("click", clear);
byId("bar").addEventListener("submit", (event) => event.preventDefault());
byId("more").addEventListener("click", () => {
  const open = byId("filters").classList.toggle("open");
  byId("more").setAttribute("aria-expanded", open);
});
update();
document.documentElement.dataset.ready = "1";
