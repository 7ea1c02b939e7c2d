"use strict";
// The chart of context tokens at each call, with the budget.

const CHART_HEIGHT = 170;
const MARGIN = { top: 16, right: 12, bottom: 24, left: 52 };

/** The y-axis that stories side by side share. It includes the budget, unless it is far above. */
function tokenScale(stories) {
  const peak = Math.max(1, ...stories.flatMap((data) => series(data).map((point) => point.tokens)));
  const budget = Math.max(...stories.map((data) => data.settings.max_context_tokens));
  return { top: peak >= budget / 3 ? Math.max(peak, budget) * 1.08 : peak * 1.15, budget, peak };
}

/** One point for each call, and one for the end. */
function series(data) {
  const calls = data.rounds.map((round, index) => ({ index, tokens: round.tokens, stage: round.stage }));
  return [...calls, { index: calls.length, tokens: data.final_tokens, stage: null }];
}

/** The chart. A click on a round calls `onpick` with its index. */
function tokenChart(data, scale, onpick) {
  const { peak } = tokenScale([data]);
  const budget = data.settings.max_context_tokens;
  const share = `${(100 * peak / budget).toFixed(0)}% of the budget of ${integer(budget)}`;
  const box = h("figure", { class: "chart" });
  const caption = h("figcaption", {}, `Tokens in the context: at most ${integer(peak)}, ${share}`,
    scale.top < budget ? " (above this scale)" : "",
    counted(data) ? h("span", { class: "legend" }, " - - prompt tokens as counted by the backbone") : "");
  const draw = () => clear(box, caption, drawn(data, scale, onpick, box.clientWidth || 640));
  new ResizeObserver(draw).observe(box);
  return box;
}

function counted(data) {
  return data.rounds.some((round) => round.prompt_tokens != null);
}

function drawn(data, scale, onpick, width) {
  const points = series(data);
  const across = width - MARGIN.left - MARGIN.right;
  const step = across / points.length;
  const high = CHART_HEIGHT - MARGIN.top - MARGIN.bottom;
  const x = (index) => MARGIN.left + (index + 0.5) * step;
  const y = (tokens) => MARGIN.top + high * (1 - Math.min(tokens, scale.top) / scale.top);
  const label = `Tokens in the context over ${plural(data.rounds.length, "round")}`;
  return svg("svg", { width, height: CHART_HEIGHT, role: "img", "aria-label": label },
    stageBands(data, step, high),
    ticks(scale.top).map((value) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
      svg("text", { class: "tick", x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, integer(value)),
    ]),
    scale.top >= data.settings.max_context_tokens
      ? budgetLine(y(data.settings.max_context_tokens), width) : [],
    svg("polyline", { class: "curve", points: points.map((p) => `${x(p.index)},${y(p.tokens)}`).join(" ") }),
    counted(data) ? svg("polyline", { class: "counted", points: data.rounds
      .map((round, index) => [index, round.prompt_tokens]).filter(([, tokens]) => tokens != null)
      .map(([index, tokens]) => `${x(index)},${y(tokens)}`).join(" ") }) : [],
    points.length <= 120 ? points.map((p) => svg("circle", {
      class: marks(data.rounds[p.index]), cx: x(p.index), cy: y(p.tokens), r: 3,
    })) : [],
    points.map((p) => hitArea(data, p, MARGIN.left + p.index * step, step, high, onpick)));
}

function stageBands(data, step, high) {
  return [1, 2, 3].flatMap((stage) => {
    const indices = data.rounds.flatMap((round, index) => (round.stage === stage ? [index] : []));
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

function hitArea(data, point, x, width, height, onpick) {
  const round = data.rounds[point.index];
  const what = round ? `round ${point.index}` : "at the end";
  const why = (round?.removals ?? []).filter((r) => r.cause !== "renewed")
    .map((r) => `, then ${r.ids.length} ${r.cause}`).join("");
  return svg("rect", {
    class: "hit", x, y: MARGIN.top, width, height, onclick: () => round && onpick(point.index),
  }, svg("title", {}, `${what}: ${integer(point.tokens)} tokens${why}`));
}
