// Reading a response as one writes it, talking to a responder, comparing policies; `rationale_marks.js` stands before it.
const { known, policies, labels } = data;
const shown = mechanisms.map((_, m) => m).filter((m) => known.includes(mechanisms[m]));
const MEANINGS = {
  none: "no strategy", random: "a strategy by chance, all equally likely", random_prior: "by chance, as often as in training",
  classifier: "the classifier's decision", classifier_sampled: "drawn by the classifier's probabilities",
  model: "what the responder itself finds likeliest", override: "your choice",
};

function trouble(error) {
  const box = byId("trouble"), lost = error instanceof TypeError;
  box.hidden = !error;
  box.textContent = error ? (lost ? "The server doesn't answer. Is “serve” still running?" : error.message) : "";
}

async function ask(path, body, signal) {
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal };
  const response = await fetch(path, post), answer = await response.json();
  if (!response.ok) throw new Error(answer.detail);
  trouble(null);
  return answer;
}

// ---- scores -----------------------------------------------------------------------------------------------------

/** Spans in UTF-16 units: the server counts characters, in which an emoji is one. */
function unitsOf(text) {
  const units = [0];
  for (const character of text) units.push(units.at(-1) + character.length);
  return units;
}

/** A score as `rationale_marks.js` shows rows; rationales of mechanisms at level 0 are left out. */
function rowOf(text, score) {
  const units = unitsOf(text), of = (values) => mechanisms.map((name) => values[name] ?? null);
  const spans = mechanisms.map((name) => (score.levels[name] ? score.rationales[name] : []).map(([a, b]) => [units[a], units[b]]));
  return { response: text, levels: of(score.levels), probabilities: of(score.probabilities), spans, goldSpans: mechanisms.map(() => []) };
}

async function scoreOf(seeker, text, signal) {
  const { scores } = await ask("score", { pairs: [{ seeker_post: seeker, response_post: text }] }, signal);
  return rowOf(text, scores[0]);
}

function levelsLine(row) {
  return make("p", "levels", ...shown.map((m) =>
    make("span", `m${m}`, make("b", "", NAMES[m]), ` ${levels[row.levels[m]]} ${row.probabilities[m][row.levels[m]].toFixed(2)}`)));
}

// ---- reading ----------------------------------------------------------------------------------------------------

const PAUSE = 180; // milliseconds without a key before a text is scored
const seeker = byId("seeker"), answer = byId("answer"), reading = byId("reading");
const hint = [...reading.childNodes];
let waiting, asked = 0, answered = 0, flight;

async function read() {
  const number = ++asked, text = answer.value;
  flight?.abort();
  if (!text.trim()) {
    answered = number;
    reading.replaceChildren(...hint);
    reading.classList.remove("stale");
    byId("state").textContent = "";
    return;
  }
  flight = new AbortController();
  try {
    const row = await scoreOf(seeker.value, text, flight.signal);
    if (number < answered) return; // an answer that was overtaken
    answered = number;
    reading.replaceChildren(response(row, shown), make("div", "scores", ...shown.map((m) => score(row, m, true))));
    reading.classList.toggle("stale", number !== asked);
    const words = shown.map((m) => `${NAMES[m]} ${levels[row.levels[m]]}`).join(", ");
    byId("state").textContent = number === asked ? words : "Reading …";
  } catch (error) {
    if (error.name !== "AbortError") trouble(error);
  }
}

function later() {
  clearTimeout(waiting);
  reading.classList.add("stale");
  waiting = setTimeout(read, PAUSE);
}

for (const text of [seeker, answer]) text.addEventListener("input", later);
byId("example").addEventListener("click", () => {
  for (const text of [seeker, answer]) text.value = text.placeholder;
  answer.focus();
  read();
});

// ---- strategies -------------------------------------------------------------------------------------------------

/** What was chosen. */
function chosenIn(found) {
  return make("p", "", ...(found.strategy ? [make("b", "", found.strategy), ` · ${MEANINGS[found.policy]}`] : ["No strategy asked for"]));
}

/** What was chosen and what else there was; a press on another writes the response anew with it. */
function strategyOf(found, choose) {
  const box = make("div", "strategy", chosenIn(found));
  if (!labels.length || (!choose && !found.probabilities)) return box;
  const shares = found.probabilities ?? {};
  const rank = (label) => (label === found.strategy ? 2 : shares[label] ?? 0); // a decision needn't be the likeliest
  const order = [...labels].sort((a, b) => rank(b) - rank(a));
  const group = make("div", "choices", ...order.map((label) => {
    const choice = make(choose ? "button" : "span", label === found.strategy ? "chosen" : "", label);
    if (label in shares) {
      choice.append(make("small", "", shares[label].toFixed(2)));
      choice.style.setProperty("--w", `${100 * shares[label]}%`);
    }
    if (choose) {
      choice.setAttribute("aria-pressed", String(label === found.strategy));
      choice.addEventListener("click", () => choose(label));
    }
    return choice;
  }));
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", choose ? "Write it anew with another strategy" : "Strategies and their probabilities");
  box.append(group);
  return box;
}

// ---- talking ----------------------------------------------------------------------------------------------------

const talk = { turns: [], busy: false };
const policy = byId("policy"), said = byId("said");

async function reply(strategy) {
  if (talk.busy) return;
  talk.busy = true;
  byId("say").querySelector("button").disabled = true;
  const turns = talk.turns.filter((turn, place) => !(strategy && place === talk.turns.length - 1));
  try {
    const found = await ask("respond", { turns: turns.map(({ speaker, text }) => ({ speaker, text })), policy: policy.value, strategy });
    const text = found.response.trim();
    const row = text ? await scoreOf(turns.at(-1)?.text ?? "", text) : null;
    talk.turns = [...turns, { speaker: "supporter", text: text || "…", row, found }];
  } catch (error) {
    trouble(error);
  } finally {
    talk.busy = false;
    byId("say").querySelector("button").disabled = false;
    showTalk(strategy);
  }
}

function showTalk(strategy) {
  byId("turns").replaceChildren(...talk.turns.map((turn, place) => {
    const item = make("li", turn.speaker, make("span", "who", turn.speaker === "seeker" ? "you" : "responder"));
    item.append(turn.row ? response(turn.row, shown) : turn.text || "(nothing)");
    if (turn.row) item.append(levelsLine(turn.row));
    if (turn.found) item.append(place === talk.turns.length - 1 ? strategyOf(turn.found, reply) : make("div", "strategy", chosenIn(turn.found)));
    return item;
  }));
  const last = byId("turns").lastElementChild;
  byId("turns").style.setProperty("--covered", `${byId("say").offsetHeight + 16}px`);
  if (strategy) byId("turns").querySelector("button.chosen")?.focus();
  (last?.querySelector(".strategy") ?? last)?.scrollIntoView({ block: "nearest" });
}

byId("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = said.value.trim();
  if (!text || talk.busy) return;
  talk.turns.push({ speaker: "seeker", text });
  said.value = "";
  showTalk();
  reply(null);
});
said.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("say").requestSubmit();
});
byId("anew").addEventListener("click", () => {
  talk.turns = [];
  showTalk();
  said.focus();
});

// ---- comparing --------------------------------------------------------------------------------------------------

let seed = 0, round = 0;

async function compare() {
  const text = byId("context").value.trim() || byId("context").placeholder, number = ++round;
  byId("context").value = text;
  const cards = policies.map((name) => make("article", "", make("h2", "", name.replaceAll("_", " ")), make("p", "", MEANINGS[name])));
  byId("policies").replaceChildren(...cards);
  await Promise.all(policies.map(async (name, place) => {
    try {
      const found = await ask("respond", { turns: [{ speaker: "seeker", text }], policy: name, seed });
      const words = found.response.trim();
      const row = words ? await scoreOf(text, words) : null;
      if (number !== round) return;
      cards[place].append(row ? response(row, shown) : make("p", "hint", "(an empty response)"));
      if (row) cards[place].append(levelsLine(row));
      cards[place].append(strategyOf(found, null));
    } catch (error) {
      trouble(error);
    }
  }));
}

byId("side").addEventListener("submit", (event) => {
  event.preventDefault();
  compare();
});
byId("draw").addEventListener("click", () => {
  seed += 1;
  compare();
});
byId("context").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) compare();
});

// ---- tabs -------------------------------------------------------------------------------------------------------

const tabs = [...document.querySelectorAll("[role=tab]")];

function open(tab) {
  for (const other of tabs) {
    other.setAttribute("aria-selected", String(other === tab));
    other.tabIndex = other === tab ? 0 : -1;
    byId(other.getAttribute("aria-controls")).hidden = other !== tab;
  }
}

tabs.forEach((tab, place) => {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(place + step + tabs.length) % tabs.length];
    open(next);
    next.focus();
  });
});

// ---- start ------------------------------------------------------------------------------------------------------

if (!policies.length) byId("tabs").hidden = true;
policy.append(...policies.map((name) => new Option(`${name.replaceAll("_", " ")}: ${MEANINGS[name]}`, name)));
policy.value = ["classifier", "model", "none"].find((name) => policies.includes(name)) ?? "";
byId("keys").append(...shown.map(sample));
byId("window").textContent = `The model reads the first ${data.window} tokens of each text.`;
byId("kept").textContent = data.store ? `What you enter is kept in ${data.store}.` : "Nothing you enter is kept.";
answer.focus();
if (answer.value) read(); // what the browser kept over a reload
document.documentElement.dataset.ready = "1";
