"use strict";
// The current view: the table, or the episode in the URL (#episode=12).

let place = 0; // scroll position of the table
let opened = null; // number of the open row

async function route() {
  const match = /^#episode=(\d{1,9})$/.exec(location.hash);
  const number = match ? Number(match[1]) : null;
  if (number === null || number >= ROWS.length) showList();
  else await showEpisode(number);
}

function showList() {
  const left = opened;
  opened = null;
  clear(byId("episode"));
  byId("episode").hidden = true;
  byId("list").hidden = false;
  if (left === null) return;
  scrollTo(0, place);
  document.querySelector(`a[href="#episode=${left}"]`)?.focus({ preventScroll: true });
}

async function showEpisode(number) {
  if (opened === null) place = scrollY;
  opened = number;
  const view = byId("episode");
  const title = document.title;
  let content;
  try {
    const stories = await Promise.all(RUNS.map((_, run) => story(number, run)));
    if (opened !== number) return; // another episode was opened meanwhile
    content = episodeView(number, stories);
  } catch (error) {
    content = [h("p", { class: "notice" }, `This episode cannot be shown: ${error}. `,
      "The page needs a browser from 2023 or later.")];
    console.error(error);
  }
  byId("list").hidden = true;
  view.hidden = false;
  clear(view, episodeBar(number), ...content.filter(Boolean));
  document.title = title;
  scrollTo(0, 0);
  byId("episode-title")?.focus({ preventScroll: true });
}

function episodeBar(number) {
  const at = table.rows.indexOf(number);
  return h("nav", { class: "bar", "aria-label": "Episodes" },
    h("a", { href: "#", id: "back" }, "‹ all episodes"),
    step(at, -1, "‹ previous"), step(at, 1, "next ›"),
    at < 0 ? null : h("span", { class: "quiet" }, `${at + 1} of ${table.rows.length}`));
}

function step(at, by, label) {
  const target = table.rows[at + by];
  return at < 0 || target === undefined
    ? h("span", { class: "quiet", "aria-disabled": "true" }, label)
    : h("a", { href: `#episode=${target}`, class: by < 0 ? "previous" : "next" }, label);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "Escape" && opened !== null) location.hash = "";
  else if (event.key === "/" && opened === null) { event.preventDefault(); byId("search").focus(); }
  else if (event.key === "j") go(1);
  else if (event.key === "k") go(-1);
}

function go(by) {
  const target = opened === null ? table.rows[0] : table.rows[table.rows.indexOf(opened) + by];
  if (target !== undefined) location.hash = `episode=${target}`;
}

function showRuns() {
  byId("runs").append(...RUNS.map((run, index) => {
    const settings = Object.entries(run.record.config)
      .map(([name, value]) => [words(name), plain(value)]);
    const rest = Object.entries(run.record).filter(([name]) => name !== "config")
      .map(([name, value]) => [words(name), plain(value)]);
    const episodes = ROWS.filter((row) => row.cells[index] !== null).length;
    const details = lazyDetails("settings", () => definitions([...settings, ...rest]));
    return h("li", { class: runClass(index) }, h("strong", {}, runName(index)),
      ` ${plural(episodes, "episode")} `, details);
  }));
}

showRuns();
showFilters();
showHead();
refresh();
addEventListener("hashchange", route);
addEventListener("keydown", onKey);
route();
