// The rating control: a slider of drawn marks or of numbered cells, in the steps of the model's scale; or no control at all.
import { el, setVar } from "./dom.js";

// "icons": a mark per unit; "numbers": a cell per step; "toggle": an item is added or not, with the least positive value.
let scale = { control: "icons", low: 0.5, high: 5, step: 0.5, added: 5 };

/** Sets the scale of the model, from its description. */
export function setScale({ rating_control: control, rating_range: [low, high], rating_step: step, positive_from: added }) {
  scale = { control, low, high, step, added };
}

/** The value of an added item; null where a user chooses one. */
export const addedValue = () => (scale.control === "toggle" ? scale.added : null);

/** Whether a number is a value that the model reads. */
export const onScale = (value) => (scale.control === "toggle" ? value === scale.added : value >= scale.low && value <= scale.high);

const MOST_CELLS = 11; // with a number each; a finer scale is a bar of ten parts
const SVG = "http://www.w3.org/2000/svg";
const MARK = "M12 2.2l3 6.5 7.1.8-5.3 4.8 1.5 7L12 17.7l-6.3 3.6 1.5-7L1.9 9.5 9 8.7z";

const round = (value) => Number(value.toFixed(4));
const snapped = (value) => {
  const steps = Math.round((value - scale.low) / scale.step);
  return Math.min(scale.high, Math.max(scale.low, round(scale.low + steps * scale.step)));
};
const steps = () => Math.round((scale.high - scale.low) / scale.step) + 1;
const numbered = () => scale.control === "numbers" && steps() <= MOST_CELLS;
/** Marks count from zero even if the scale starts above it: 3 of 5 shows three. The first cell is the lowest rating. */
const zero = () => (scale.control === "icons" ? Math.min(0, scale.low) : scale.low - scale.step);
const count = () => {
  if (scale.control === "icons") return Math.min(10, Math.max(1, Math.ceil(scale.high - zero())));
  return numbered() ? steps() : 10;
};
const share = (value) => (value === null ? 0 : (value - zero()) / (scale.high - zero()));
const valueText = (value) => (value === null ? "not rated" : `${value} of ${scale.high}`);

function icons(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${24 * count()} 24`);
  svg.setAttribute("class", name);
  for (let at = 0; at < count(); at += 1) {
    const mark = document.createElementNS(SVG, "path");
    mark.setAttribute("d", MARK);
    mark.setAttribute("transform", `translate(${24 * at} 0)`);
    svg.append(mark);
  }
  return svg;
}

function cells(name) {
  const text = (at) => (numbered() ? String(round(scale.low + at * scale.step)) : "");
  return el("span", { class: name }, ...Array.from({ length: count() }, (_, at) => el("i", { text: text(at) })));
}

/**
 * A rating control.
 * @param {{label: string, value: number|null, onCommit: function(number), onConfirm?: function, big?: boolean}} options
 *   onCommit gets each chosen value; onConfirm runs on Enter, Space, and a click after its onCommit
 * @returns {HTMLElement & {set: function(number|null)}} the control; `set` shows a value without a callback
 */
export function ratingControl({ label, value, onCommit, onConfirm = () => {}, big = false }) {
  const row = scale.control === "icons" ? icons : cells;
  const marks = el("span", { class: "marks" }, row("row"), el("span", { class: "lit" }, row("row")));
  const shownValue = el("span", { class: "value", "aria-hidden": "true" });
  const node = el("div", {
    class: `rating ${scale.control}${big ? " big" : ""}`, role: "slider", tabindex: "0", "aria-label": label,
  }, marks, scale.control === "numbers" ? shownValue : null);
  setVar(node, "--count", count());
  let current = value;

  const paint = (shown) => {
    setVar(node, "--share", share(shown));
    shownValue.textContent = shown ?? "";
  };
  node.set = (next) => {
    current = next;
    node.setAttribute("aria-valuemin", scale.low);
    node.setAttribute("aria-valuemax", scale.high);
    node.setAttribute("aria-valuenow", next ?? scale.low);
    node.setAttribute("aria-valuetext", valueText(next));
    paint(next);
  };
  const choose = (next) => {
    if (next === current) return;
    node.set(next);
    onCommit(next);
  };
  const under = (event) => {
    const box = marks.getBoundingClientRect();
    const reach = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const raw = zero() + reach * (scale.high - zero());
    return snapped(scale.low + Math.ceil((raw - scale.low) / scale.step - 1e-9) * scale.step);
  };

  node.addEventListener("pointermove", (event) => paint(under(event)));
  node.addEventListener("pointerleave", () => paint(current));
  node.addEventListener("click", (event) => {
    choose(under(event));
    onConfirm();
  });
  node.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Enter" || event.key === " ") onConfirm();
    else if (event.key in MOVES) choose(MOVES[event.key](current ?? middle(event.key)));
    else return;
    event.preventDefault();
  });
  node.set(value);
  return node;
}

/** The first value of an unrated control: one step from the middle of the scale, so that the first key reaches it. */
const middle = (key) => {
  const center = snapped((scale.low + scale.high) / 2);
  return MOVES[key](center) > center ? center - scale.step : center + scale.step;
};
const MOVES = {
  ArrowRight: (value) => snapped(value + scale.step),
  ArrowUp: (value) => snapped(value + scale.step),
  ArrowLeft: (value) => snapped(value - scale.step),
  ArrowDown: (value) => snapped(value - scale.step),
  PageUp: (value) => snapped(value + Math.max(1, scale.step)),
  PageDown: (value) => snapped(value - Math.max(1, scale.step)),
  Home: () => scale.low,
  End: () => scale.high,
};
