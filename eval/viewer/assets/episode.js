"use strict";
// The view of one episode, or of a task in two runs: the outcome, the token chart, and for each
// round the messages, the calls and their effects.

const STAGES = { 1: "Stage 1: construction", 2: "Stage 2: distraction", 3: "Stage 3: reasoning" };
const KINDS = {
  system: "system prompt", incoming: "message", query: "task", memories: "automatic retrieval",
  observation: "observation", tool_result: "tool results", summary: "summary",
  feedback: "refusal", assistant: "the model",
};
const REWARD = [
  ["total", 0], ["task", 1], ["context", 1], ["compression", 2], ["preventive", 2],
  ["preservation", 2], ["memory", 1], ["storage", 2], ["maintenance", 2], ["relevance", 2],
  ["penalty", 1],
];

/** The view of row `number`. Stories are in the order of the runs, null if a run lacks the task. */
function episodeView(number, stories) {
  const row = ROWS[number];
  const present = stories.filter((one) => one !== null);
  const scale = tokenScale(present);
  const sections = [
    ["Outcome", (one) => outcomePanels(one)],
    ["Context", (one, run) => [unrecorded(one, run), tokenChart(one, scale, (index) => reveal(run, index))]],
    ...Object.keys(STAGES).map((stage) => [STAGES[stage], (one, run) => stageRounds(one, run, Number(stage))]),
    ["At the end", (one) => ending(one)],
  ].filter(([title]) => present.some((one) => hasStage(one, title)));
  return [
    h("h2", { tabindex: -1, id: "episode-title" }, row.task),
    definitions([
      ["Benchmark", row.env], ["Type", row.category],
      ["Question or goal", longText(row.query)], ["Reference", row.reference && longText(row.reference)],
    ], { class: "task" }),
    COMPARING ? differences(stories) : null,
    h("div", { class: COMPARING ? "side-by-side" : "single" },
      sections.flatMap(([title, make]) => stories.map((one, run) => h("section", {
        class: `part ${runClass(run)}`, "aria-label": COMPARING ? `${title}, ${runName(run)}` : title,
      },
      h("h3", {}, title, COMPARING ? h("span", { class: "of-run" }, runName(run)) : null),
      one === null ? h("p", { class: "quiet" }, "This run has no episode on this task.") : make(one, run))))),
  ];
}

function hasStage(data, title) {
  const stage = Object.keys(STAGES).find((key) => STAGES[key] === title);
  return stage === undefined || data.rounds.some((round) => round.stage === Number(stage));
}

function runName(run) {
  return COMPARING ? `${LETTERS[run]}: ${RUNS[run].name}` : RUNS[run].name;
}

/** A notice if two episodes differ in their settings: then their scores are not comparable. */
function differences(stories) {
  const [a, b] = stories;
  if (!a || !b) return null;
  const conditions = (one) => ({ ...one.settings, source: one.source, constrained: one.constrained });
  const [ours, theirs] = [conditions(a), conditions(b)];
  const differing = [...new Set([...Object.keys(ours), ...Object.keys(theirs)])]
    .filter((key) => JSON.stringify(ours[key]) !== JSON.stringify(theirs[key]));
  if (differing.length === 0) return null;
  return h("div", { class: "notice", role: "note" },
    h("p", {}, "These two episodes were run under different conditions:"),
    h("ul", {}, differing.map((key) => h("li", {},
      `${words(key)}: A ${plain(ours[key])}, B ${plain(theirs[key])}`))));
}

function plain(value) {
  return typeof value === "string" ? value : JSON.stringify(value ?? null);
}

/** Notes on parts of the prompts that the record lacks. */
function unrecorded(data, run) {
  const notes = [];
  if (RUNS[run].record.config.few_shot) {
    notes.push("Each prompt also contained a worked example (few_shot), which is not shown here.");
  }
  if (!managesMemory(data)) {
    notes.push("The tools were off. If the agent has a memory system, the record contains its items "
      + "at the end, but not what it added to the prompts.");
  }
  return notes.map((note) => h("p", { class: "quiet" }, note));
}

function managesMemory(data) {
  return data.settings.tools.some((name) => name.endsWith("_memory"));
}

// -- panels ----------------------------------------------------------------------------

function outcomePanels(data) {
  const success = data.success === null ? null : Number(data.success);
  return h("div", { class: "panels" },
    h("div", { class: "panel" }, h("h4", {}, "Result"), definitions([
      ["Success", outcome(success)],
      ["Stopped by", badge(words(data.stop ?? NONE), "stop")],
      ["Progress", decimal(data.progress)],
      ["Final answer", data.prediction === null ? "none" : longText(data.prediction)],
      ["Agent", [data.agent, data.backbone].filter((name) => name !== "none").join(" / ")],
      ["Seconds", decimal(data.seconds, 2)],
      ["Errors", data.errors.length ? data.errors.map((error) => longText(error, "bad")) : null],
    ])),
    h("div", { class: "panel" }, h("h4", {}, "Reward"), rewardTable(data.reward)),
    Object.keys(data.metrics).length === 0 ? null : h("div", { class: "panel" }, h("h4", {}, "Metrics"),
      definitions(Object.entries(data.metrics).map(([name, value]) => [words(name), metric(value)]))),
    data.asked.length === 0 ? null : h("div", { class: "panel wide" },
      h("h4", {}, "Questions"), questions(data.asked)),
    h("div", { class: "panel wide" }, h("h4", {}, "Gold facts"), goldFacts(data)));
}

function questions(asked) {
  const head = ["Type", "Question", "Reference", "Answer", "F1", "Judge"];
  return h("table", { class: "questions" },
    h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, asked.map((one) => h("tr", {},
      h("td", {}, one.category), h("td", {}, longText(one.query)), h("td", {}, longText(one.reference)),
      h("td", {}, one.prediction === null ? badge(words(one.ended ?? NONE), "stop") : longText(one.prediction)),
      h("td", { class: "number" }, decimal(one.score)), h("td", { class: "number" }, decimal(one.judged))))));
}

function metric(value) {
  return Number.isInteger(value) ? integer(value) : decimal(value);
}

function rewardTable(reward) {
  if (reward === null) return h("p", { class: "quiet" }, "The episode was not scored.");
  return h("table", { class: "reward" }, h("tbody", {}, REWARD.map(([name, depth]) => {
    const value = reward[name];
    const bar = h("span", { class: `bar ${value < 0 ? "negative" : ""}` });
    bar.style.width = `${Math.min(1, Math.abs(value ?? 0)) * 100}%`;
    return h("tr", { class: `depth-${depth}` }, h("th", { scope: "row" }, name),
      h("td", { class: "number" }, decimal(value)), h("td", { class: "track" }, bar));
  })));
}

function goldFacts(data) {
  if (data.gold.length === 0) return h("p", { class: "quiet" }, "The task has no gold facts.");
  const held = data.gold.filter((gold) => gold.held_by.length > 0).length;
  const when = (label, rounds) => (rounds.length
    ? `${label} in round ${rounds.join(", ")}` : `never ${label}`);
  const state = (gold) => {
    if (!data.memories_listed) return badge("not known", "stop");
    return gold.held_by.length ? badge(`in ${gold.held_by.join(", ")}`, "yes") : badge("not in memory", "no");
  };
  return [
    h("p", { class: "quiet" }, data.memories_listed
      ? `${held} of ${data.gold.length} in memory at the end, judged by shared words.`
      : "The memory system cannot list what it holds."),
    h("ul", { class: "gold" }, data.gold.map((gold) => h("li", {},
      state(gold),
      h("span", { class: "text" }, ` ${gold.fact}`),
      managesMemory(data) ? h("div", { class: "quiet" },
        `${when("stored", gold.stored)}; ${when("retrieved", gold.retrieved)}`) : null))),
  ];
}

function ending(data) {
  const items = data.memories.map((item) => h("li", {}, badge(item.id), " ",
    item.memory_type ? badge(item.memory_type, "stop") : null,
    h("span", { class: "text" }, ` ${item.content}`),
    Object.keys(item.metadata).length ? h("code", {}, ` ${JSON.stringify(item.metadata)}`) : null));
  const settings = Object.entries(data.settings).map(([name, value]) => [words(name), plain(value)]);
  return h("div", {},
    h("h4", {}, data.memories_listed
      ? `Long-term memory: ${plural(items.length, "item")}` : "Long-term memory: not known"),
    items.length ? h("ul", { class: "memories" }, items) : h("p", { class: "quiet" },
      data.memories_listed ? "It is empty." : "The memory system cannot list what it holds."),
    h("details", {}, h("summary", {}, "Settings"), definitions([
      ["seed", data.seed], ["data source", data.source], ["engine", data.engine],
      ["constrained decoding", data.constrained ? "yes" : "no"],
      ["key items", data.key_items.join("; ")], ...settings])));
}

// -- rounds ----------------------------------------------------------------------------

function stageRounds(data, run, stage) {
  const rounds = data.rounds.flatMap((round, index) => (round.stage === stage ? [index] : []));
  if (rounds.length === 0) return h("p", { class: "quiet" }, "The episode has no round in this stage.");
  return h("ol", { class: "rounds" }, rounds.map((index) => roundCard(data, run, index)));
}

function roundCard(data, run, index) {
  const round = data.rounds[index];
  const ids = visibleIds(round);
  const calls = round.calls.map((call, number) => toolCall(data, round, call, number));
  const environment = round.removals.filter((removal) => removal.call === null);
  return h("li", { class: `round ${round.malformed === null ? "" : "malformed"}`, id: `round-${run}-${index}`, tabindex: -1 },
    h("h5", {}, `Round ${index}`, h("span", { class: "quiet" }, roundFacts(data, round, ids.length))),
    round.arrived.map((id) => arrival(data.messages[id])),
    round.thought ? entry("thought", longText(round.thought), "thought") : null,
    calls,
    round.answer === null ? null : entry(round.stage === 3 ? "answered" : "replied", longText(round.answer), "answer"),
    round.malformed === null ? null : entry("malformed", [longText(round.action), h("p", { class: "bad" }, round.malformed)], "bad"),
    round.replies.filter((id) => data.messages[id][0] !== "tool_result").map((id) =>
      arrival(data.messages[id])),
    round.removals.length === 0 ? null : entry("context", [
      environment.map((removal) => removed(data, removal)),
      h("div", {}, `${round.kept} of ${plural(ids.length, "message")} kept`),
    ], "effect"),
    lazyDetails(`full context: ${plural(ids.length, "message")}`, () => wholeContext(data, ids)));
}

function arrival([kind, text]) {
  const content = kind === "system"
    ? lazyDetails(`${integer(text.length)} characters`, () => longText(text)) : longText(text);
  return entry(KINDS[kind], content, "saw");
}

function roundFacts(data, round, messages) {
  const share = 100 * round.tokens / data.settings.max_context_tokens;
  const backbone = [
    round.prompt_tokens == null ? null : `${integer(round.prompt_tokens)} prompt tokens`,
    round.completion_tokens == null ? null : `${integer(round.completion_tokens)} written`,
    round.seconds == null ? null : `${round.seconds.toFixed(1)} s`,
  ].filter(Boolean);
  return ` ${[`${integer(round.tokens)} tokens (${share.toFixed(0)}%)`,
    plural(messages, "message"), ...backbone,
    managesMemory(data) ? `memory: ${plural(round.memory_size, "item")}` : null,
  ].filter(Boolean).join(" · ")}`;
}

function entry(label, content, kind) {
  return h("div", { class: `entry ${kind}` }, h("div", { class: "label" }, label),
    h("div", { class: "content" }, content));
}

function toolCall(data, round, [name, given], number) {
  const [ok, text] = round.results[number] ?? [false, "no result was recorded"];
  const shown = Object.entries(given ?? {}).map(([key, value]) => [key, longText(plain(value))]);
  return entry("called", [
    h("div", { class: "call" }, h("code", {}, name), ok ? badge("done", "yes") : badge("refused", "no")),
    definitions(shown, { class: "arguments" }),
    longText(text, ok ? "result" : "result bad"),
    round.removals.filter((removal) => removal.call === number).map((removal) =>
      h("div", { class: "effect" }, removed(data, removal))),
    memoryEffects(round.memory.filter((change) => change.call === number)),
  ], "call");
}

const SIGNS = { added: "+", updated: "±", deleted: "−", retrieved: "→" };

/** The effects of a call on long-term memory. The call itself shows what it stored or found. */
function memoryEffects(changes) {
  if (changes.length === 0) return null;
  return h("ul", { class: "effect memory" }, changes.map((change) => h("li", { class: change.action },
    `${SIGNS[change.action]} memory ${change.id} ${change.action}`,
    change.score === null ? null : ` (${change.score.toFixed(2)})`,
    change.before === null ? null : ["; before: ", longText(change.before)],
    change.action === "deleted" ? [": ", longText(change.content)] : null)));
}

const REMOVED = {
  filtered: "filtered out", summarised: "replaced by a summary",
  emptied: "removed: the next stage begins with a fresh context",
  renewed: "removed: the automatic retrieval was refreshed", unknown: "removed; the record does not show the reason",
};

function removed(data, removal) {
  const tokens = removal.ids.reduce((sum, id) => sum + data.messages[id][2], 0);
  const title = `${plural(removal.ids.length, "message")} (${integer(tokens)} tokens) ${REMOVED[removal.cause]}`;
  const list = lazyDetails(title, () => wholeContext(data, removal.ids));
  if (removal.summary === null) return list;
  const [, text, cost] = data.messages[removal.summary];
  return [list, h("div", { class: "quiet" }, `The summary, ${integer(cost)} tokens:`), longText(text)];
}

function wholeContext(data, ids) {
  return h("ol", { class: "context" }, ids.map((id) => {
    const [kind, text, tokens] = data.messages[id];
    return h("li", {}, h("span", { class: "label" }, `#${id} ${KINDS[kind]}, ${integer(tokens)} tokens`), longText(text));
  }));
}

/** Scroll a round into view. */
function reveal(run, index) {
  const card = byId(`round-${run}-${index}`);
  card?.scrollIntoView({ block: "start" });
  card?.focus({ preventScroll: true });
}
