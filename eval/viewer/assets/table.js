"use strict";
// The table of episodes: filters, sorting, pages.

const PAGE = 50;
const COLLATOR = new Intl.Collator("en", { numeric: true });
const NONE = "(none)";

const TASK_COLUMNS = [
  { key: "task", label: "Task" },
  { key: "env", label: "Benchmark", show: shortEnv },
  { key: "category", label: "Type" },
];
const RUN_COLUMNS = [
  { key: "success", label: "Success", show: outcome, both: true },
  { key: "progress", label: "Progress", show: decimal, numeric: true },
  { key: "reward", label: "Reward", show: decimal, numeric: true, both: true },
  { key: "stop", label: "Stopped by", show: (value) => words(value ?? NONE), both: true },
  { key: "stage", label: "Stage", show: (value) => value ?? NONE, numeric: true },
  { key: "rounds", label: "Rounds", show: integer, numeric: true, both: true },
  { key: "tool_calls", label: "Calls", show: integer, numeric: true },
  { key: "peak", label: "Tokens", title: "The largest number of tokens in the context", show: integer, numeric: true, both: true },
  { key: "memories", label: "Memory", show: integer, numeric: true },
  { key: "malformed_rate", label: "Malformed", show: percent, numeric: true },
  { key: "seconds", label: "Seconds", show: (value) => decimal(value, 1), numeric: true },
];
const COLUMNS = [
  ...TASK_COLUMNS.filter((column) => !COMPARING || column.key !== "category"), // to save space
  ...RUN_COLUMNS.filter((column) => !COMPARING || column.both)
    .flatMap((column) => RUNS.map((_, run) => ({ ...column, run }))),
];

const PAIRED = {
  "different outcome": ([a, b]) => a && b && a.success !== b.success,
  "same outcome": ([a, b]) => a && b && a.success === b.success,
  "only A succeeds": ([a, b]) => a && b && a.success === 1 && b.success !== 1,
  "only B succeeds": ([a, b]) => a && b && b.success === 1 && a.success !== 1,
  "in one run only": ([a, b]) => !a || !b,
};
const FILTERS = [
  { id: "env", label: "Benchmark", of: (cell, row) => row.env },
  { id: "success", label: "Success", of: (cell) => outcomeName(cell.success) },
  { id: "stage", label: "Stage reached", of: (cell) => String(cell.stage ?? NONE) },
  { id: "stop", label: "Stopped by", of: (cell) => cell.stop ?? NONE },
];

const table = {
  column: null, // null: the order of the run
  down: false,
  page: 0,
  chosen: {}, // filter id -> wanted value
  text: "",
  found: null, // rows whose transcripts contain the text; null: not searched
  rows: ROWS.map((_, number) => number), // the filtered and sorted rows
};

function outcomeName(success) {
  return success === null ? "unscored" : success === 1 ? "yes" : "no";
}

function outcome(success) {
  const name = outcomeName(success);
  const mark = { yes: "✓ ", no: "✗ ", unscored: "" }[name];
  return badge(mark + name, name);
}

function percent(value) {
  return value == null ? "–" : `${(100 * value).toFixed(0)}%`;
}

/** AgeMem-BabyAI-v0 -> BabyAI. The title of the cell has the full id. */
function shortEnv(id) {
  return id.replace(/^AgeMem-(.*)-v0$/, "$1");
}

function valueOf(row, column) {
  return (column.run === undefined ? row[column.key] : row.cells[column.run]?.[column.key]) ?? null;
}

function passes(number) {
  const row = ROWS[number];
  const { pair, ...chosen } = table.chosen;
  if (pair && !PAIRED[pair](row.cells)) return false;
  const wanted = FILTERS.filter((filter) => chosen[filter.id]);
  // In a comparison, one matching episode is enough.
  const fits = (cell) => wanted.every((filter) => filter.of(cell, row) === chosen[filter.id]);
  if (!cellsOf(row).some(fits)) return false;
  return !table.text || rowHolds(row, table.text) || Boolean(table.found?.has(number));
}

function compare(one, two) {
  const [a, b] = [valueOf(ROWS[one], table.column), valueOf(ROWS[two], table.column)];
  if (a === null || b === null) return (a === null) - (b === null); // unscored rows come last
  const order = typeof a === "number" ? a - b : COLLATOR.compare(a, b);
  return table.down ? -order : order;
}

/** Filter and sort again, and show the first page. */
function refresh() {
  table.rows = ROWS.map((_, number) => number).filter(passes);
  if (table.column !== null) table.rows.sort(compare);
  table.page = 0;
  showTable();
}

function sortBy(column) {
  // The first click sorts numbers in descending order, the second reverses, the third resets.
  const firstDown = Boolean(column.numeric);
  if (table.column !== column) [table.column, table.down] = [column, firstDown];
  else if (table.down === firstDown) table.down = !firstDown;
  else table.column = null;
  refresh();
  showHead();
}

function showHead() {
  const cells = COLUMNS.map((column) => {
    const sorted = table.column === column;
    const direction = sorted ? (table.down ? "descending" : "ascending") : "none";
    const mark = sorted ? (table.down ? " ▼" : " ▲") : "";
    const letter = COMPARING && column.run !== undefined ? ` ${LETTERS[column.run]}` : "";
    const button = h("button", { type: "button", onclick: () => sortBy(column) },
      column.label + letter, h("span", { "aria-hidden": "true" }, mark));
    return h("th", {
      scope: "col", "aria-sort": direction, title: column.title,
      class: `${column.numeric ? "number" : ""} ${runClass(column.run)}`,
    }, button);
  });
  const head = document.querySelector("#episodes thead");
  const focused = [...head.querySelectorAll("button")].indexOf(document.activeElement);
  clear(head, h("tr", {}, cells));
  if (focused >= 0) head.querySelectorAll("button")[focused].focus();
}

function runClass(run) {
  return COMPARING && run !== undefined ? `run-${run}` : "";
}

function showTable() {
  const from = table.page * PAGE;
  const shown = table.rows.slice(from, from + PAGE);
  clear(document.querySelector("#episodes tbody"), ...shown.map(tableRow));
  const count = `${integer(table.rows.length)} of ${plural(ROWS.length, COMPARING ? "task" : "episode")}`;
  clear(byId("count"), count);
  const pages = Math.max(1, Math.ceil(table.rows.length / PAGE));
  const turn = (by, label) => h("button", {
    type: "button", disabled: table.page + by < 0 || table.page + by >= pages,
    onclick: () => { table.page += by; showTable(); },
  }, label);
  byId("pages").hidden = pages === 1;
  clear(byId("pages"), turn(-1, "‹ previous"), ` page ${table.page + 1} of ${pages} `, turn(1, "next ›"));
}

function tableRow(number) {
  const row = ROWS[number];
  const cells = COLUMNS.map((column) => {
    const missing = column.run !== undefined && row.cells[column.run] === null;
    const value = valueOf(row, column);
    const shown = missing ? "–" : column.show ? column.show(value) : value;
    const content = column.key === "task" ? h("a", { href: `#episode=${number}` }, value) : shown;
    const classes = `${column.numeric ? "number" : ""} column-${column.key} ${runClass(column.run)}`;
    return h("td", { class: classes, title: column.run === undefined ? value : null }, content);
  });
  const open = (event) => {
    if (!event.target.closest("a")) location.hash = `episode=${number}`;
  };
  return h("tr", { onclick: open }, cells);
}

// -- filters ---------------------------------------------------------------------------

function showFilters() {
  const selects = FILTERS.map((filter) => {
    const values = ROWS.flatMap((row) => cellsOf(row).map((cell) => filter.of(cell, row)));
    return select(filter.id, filter.label, [...new Set(values)].sort(COLLATOR.compare));
  });
  if (COMPARING) selects.push(select("pair", "A against B", Object.keys(PAIRED)));
  const search = h("input", {
    id: "search", type: "search", autocomplete: "off", spellcheck: "false",
    placeholder: "task, question, answer, error", oninput: searchTable,
    onkeydown: (event) => { if (event.key === "Enter") searchTranscripts(); },
  });
  const everywhere = h("button", { id: "everywhere", type: "button", onclick: searchTranscripts },
    "search transcripts too");
  const reset = h("button", { id: "reset", type: "button", onclick: resetFilters }, "clear filters");
  byId("filters").append(
    h("label", { class: "wide" }, "Search", search), ...selects, everywhere, reset);
}

function select(id, label, values) {
  const options = values.map((value) => h("option", { value }, words(value)));
  const change = (event) => { table.chosen[id] = event.target.value; refresh(); };
  return h("label", {}, label,
    h("select", { id: `filter-${id}`, onchange: change }, h("option", { value: "" }, "all"), options));
}

function searchTable() {
  table.text = byId("search").value.trim().toLowerCase();
  table.found = null;
  refresh();
}

/** Search all transcripts. A newer search cancels an older one. */
async function searchTranscripts() {
  const found = new Set();
  table.found = found;
  for (let number = 0; number < ROWS.length && table.text; number += 1) {
    if (await storyHolds(number, table.text)) found.add(number);
    if (table.found !== found) return;
    if (number % 50 === 49) clear(byId("count"), `searching ${number + 1} of ${ROWS.length} …`);
  }
  refresh();
}

function resetFilters() {
  for (const control of byId("filters").querySelectorAll("input, select")) control.value = "";
  table.chosen = {};
  searchTable();
}
