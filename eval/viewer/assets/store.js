"use strict";
// The data of the page: the index of all episodes, parsed at once, and their stories, unpacked
// on demand.

const INDEX = JSON.parse(byId("index").textContent);
const RUNS = INDEX.runs;
const ROWS = INDEX.rows;
const COMPARING = RUNS.length > 1;
const LETTERS = ["A", "B"];

/** The story of row `number` in run `run`, or null if the run lacks the task. */
async function story(number, run) {
  const element = byId(`story-${number}-${run}`);
  return element === null ? null : JSON.parse(await unpack(element.textContent));
}

async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text();
}

/** The cells of a row that are not null. */
function cellsOf(row) {
  return row.cells.filter((cell) => cell !== null);
}

/** Whether the table data of a row contain a lower-case text. */
function rowHolds(row, text) {
  row.searched ??= [
    row.task, row.env, row.category, row.query, row.reference,
    ...cellsOf(row).flatMap((cell) => [cell.prediction, cell.error, cell.stop]),
  ].filter(Boolean).join("\n").toLowerCase();
  return row.searched.includes(text);
}

/** Whether any message, thought or tool call in the stories of a row contains a lower-case text. */
async function storyHolds(number, text) {
  for (let run = 0; run < RUNS.length; run += 1) {
    const data = await story(number, run);
    if (data !== null && strings(data).some((value) => value.toLowerCase().includes(text))) {
      return true;
    }
  }
  return false;
}

function strings(value) {
  if (typeof value === "string") return [value];
  if (value === null || typeof value !== "object") return [];
  return Object.entries(value).flatMap(([key, item]) => [key, ...strings(item)]);
}

/** The ids of a round's visible messages, expanded from ranges. */
function visibleIds(round) {
  return round.visible.flatMap(([first, last]) =>
    Array.from({ length: last - first + 1 }, (_, offset) => first + offset));
}
