"use strict";
// Elements and numbers. All text of the data becomes text nodes: no code of this page makes markup
// from strings.

const SVG = "http://www.w3.org/2000/svg";
const LONG = 700; // characters of a text before it is unfolded

/** An element. Attributes named on... are listeners. Children are nodes, or values shown as text. */
function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element, with the arguments of `h`. */
function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child instanceof Node) element.append(child);
    else if (child != null && child !== false) element.append(String(child));
  }
  return element;
}

function byId(id) {
  return document.getElementById(id);
}

/** A text of the data. A long text can be unfolded. */
function longText(text, kind = "") {
  const box = h("div", { class: `text ${kind}` });
  if (text.length <= LONG * 1.3) {
    box.append(text);
    return box;
  }
  const shown = document.createTextNode(`${text.slice(0, LONG)} … `);
  const all = `show all ${integer(text.length)} characters`;
  const button = h("button", { class: "link", type: "button", "aria-expanded": "false" }, all);
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-expanded") === "true";
    shown.data = open ? `${text.slice(0, LONG)} … ` : `${text} `;
    button.setAttribute("aria-expanded", String(!open));
    button.textContent = open ? all : "show less";
  });
  box.append(shown, button);
  return box;
}

/** A details element whose content is created when it is first opened. */
function lazyDetails(summary, make, attributes = {}) {
  const details = h("details", attributes, h("summary", {}, summary));
  details.addEventListener("toggle", () => details.append(make()), { once: true });
  return details;
}

/** A list of terms and values. */
function definitions(entries, attributes = {}) {
  const shown = entries.filter(([, value]) => value != null && value !== "");
  return h("dl", attributes, shown.map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]));
}

function badge(text, kind = "") {
  return h("span", { class: `badge ${kind}` }, text);
}

function integer(value) {
  return value == null ? "–" : Math.round(value).toLocaleString("en");
}

function decimal(value, digits = 3) {
  return value == null ? "unscored" : value.toFixed(digits);
}

/** 1 round, 2 rounds. */
function plural(count, noun) {
  return `${integer(count)} ${noun}${count === 1 ? "" : "s"}`;
}

function words(name) {
  return String(name).replaceAll("_", " ");
}

function clear(element, ...children) {
  element.replaceChildren(...children);
  return element;
}
