"use strict";
// Tokens of the context at each call, against the budget.

const CHART_HEIGHT = 170;
const MARGIN = { top: 16, right: 12, bottom: 24, left: 52 };

/** The y-axis of stories that are shown side by side: with the budget, unless it is far away. */
function tokenScale(stories) {
  const peak = Math.max(1, ...stories.flatMap((told) => series(told).map((point) => point.tokens)));
  const budget = Math.max(...stories.map((told) => told.settings.max_context_tokens));
  return { top: peak >= budget / 3 ? Math.max(peak, budget) * 1.08 : peak * 1.15, budget, peak };
}

/** One point a call, and the state at the end. */
function series(told) {
  const calls = told.rounds.map((round, index) => ({ index, tokens: round.tokens, stage: round.stage }));
  return [...calls, { index: calls.length, tokens: told.final_tokens, stage: null }];
}

/** The chart; `onpick` is called with the index of a round that is clicked. */
function tokenChart(told, scale, onpick) {
  const { peak } = tokenScale([told]);
  const budget = told.settings.max_context_tokens;
  const share = `${(100 * peak / budget).toFixed(0)}% of the budget of ${integer(budget)}`;
  const box = h("figure", { class: "chart" });
  const caption = h("figcaption", {}, `Tokens in the context: at most ${integer(peak)}, ${share}`,
    scale.top < budget ? " (which is beyond this scale)" : "",
    counted(told) ? h("span", { class: "legend" }, " - - as the backbone counted the prompt") : "");
  const draw = () => clear(box, caption, drawn(told, scale, onpick, box.clientWidth || 640));
  new ResizeObserver(draw).observe(box);
  return box;
}

function counted(told) {
  return told.rounds.some((round) => round.prompt_tokens != null);
}

function drawn(told, scale, onpick, width) {
  const points = series(told);
  const across = width - MARGIN.left - MARGIN.right;
  const step = across / points.length;
  const high = CHART_HEIGHT - MARGIN.top - MARGIN.bottom;
  const x = (index) => MARGIN.left + (index + 0.5) * step;
  const y = (tokens) => MARGIN.top + high * (1 - Math.min(tokens, scale.top) / scale.top);
  const label = `Tokens in the context over ${plural(told.rounds.length, "round")}`;
  return svg("svg", { width, height: CHART_HEIGHT, role: "img", "aria-label": label },
    stageBands(told, step, high),
    ticks(scale.top).map((value) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
      svg("text", { class: "tick", x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, integer(value)),
    ]),
    scale.top >= told.settings.max_context_tokens
      ? budgetLine(y(told.settings.max_context_tokens), width) : [],
    svg("polyline", { class: "curve", points: points.map((p) => `${x(p.index)},${y(p.tokens)}`).join(" ") }),
    counted(told) ? svg("polyline", { class: "counted", points: told.rounds
      .map((round, index) => [index, round.prompt_tokens]).filter(([, tokens]) => tokens != null)
      .map(([index, tokens]) => `${x(index)},${y(tokens)}`).join(" ") }) : [],
    points.length <= 120 ? points.map((p) => svg("circle", {
      class: marks(told.rounds[p.index]), cx: x(p.index), cy: y(p.tokens), r: 3,
    })) : [],
    points.map((p) => hitArea(told, p, MARGIN.left + p.index * step, step, high, onpick)));
}

function stageBands(told, step, high) {
  return [1, 2, 3].flatMap((stage) => {
    const indices = told.rounds.flatMap((round, index) => (round.stage === stage ? [index] : []));
    if (indices.length === 0) return [];
    const from = MARGIN.left + indices[0] * step;
    const width = indices.length * step;
    return [
      svg("rect", { class: `band stage-${stage}`, x: from, y: MARGIN.top, width, height: high }),
      svg("text", { class: "tick", x: from + width / 2, y: CHART_HEIGHT - 7, "text-anchor": "middle" },
        width > 60 ? `stage ${stage}` : width > 14 ? stage : ""),
    ];
  });
}

function budgetLine(at, width) {
  return [
    svg("line", { class: "budget", x1: MARGIN.left, x2: width - MARGIN.right, y1: at, y2: at }),
    svg("text", { class: "tick", x: MARGIN.left + 4, y: at - 4 }, "budget"),
  ];
}

/** Three to six round numbers from 0 to the top. */
function ticks(top) {
  const power = 10 ** Math.floor(Math.log10(top / 3));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => top / size <= 6);
  return Array.from({ length: Math.floor(top / step) + 1 }, (_, index) => index * step);
}

function marks(round) {
  const causes = (round?.removals ?? []).map((removal) => removal.cause);
  if (causes.includes("filtered") || causes.includes("summarised")) return "dot reduced";
  return causes.includes("emptied") ? "dot emptied" : "dot";
}

function hitArea(told, point, x, width, height, onpick) {
  const round = told.rounds[point.index];
  const what = round ? `round ${point.index}` : "at the end";
  const why = (round?.removals ?? []).filter((r) => r.cause !== "renewed")
    .map((r) => `, then ${r.ids.length} ${r.cause}`).join("");
  return svg("rect", {
    class: "hit", x, y: MARGIN.top, width, height, onclick: () => round && onpick(point.index),
  }, svg("title", {}, `${what}: ${integer(point.tokens)} tokens${why}`));
}
