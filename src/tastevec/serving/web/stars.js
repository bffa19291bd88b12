// The star control: a slider in the shape of stars, in steps of the model's rating scale.
import { el, setVar } from "./dom.js";

let scale = { low: 0.5, high: 5, step: 0.5 };

/** Sets the rating scale of the model. */
export function setScale([low, high], step) {
  scale = { low, high, step };
}

/** Whether a number is on the rating scale of the model. */
export const onScale = (value) => value >= scale.low && value <= scale.high;

const snapped = (value) => {
  const steps = Math.round((value - scale.low) / scale.step);
  return Math.min(scale.high, Math.max(scale.low, Number((scale.low + steps * scale.step).toFixed(4))));
};
/** Stars count from zero even if the scale starts above it: 3 of 5 shows three stars. */
const zero = () => Math.min(0, scale.low);
const count = () => Math.min(10, Math.max(1, Math.ceil(scale.high - zero())));
const share = (value) => (value === null ? 0 : (value - zero()) / (scale.high - zero()));
const valueText = (value) => (value === null ? "not rated" : `${value} of ${scale.high} stars`);

const SVG = "http://www.w3.org/2000/svg";
const STAR = "M12 2.2l3 6.5 7.1.8-5.3 4.8 1.5 7L12 17.7l-6.3 3.6 1.5-7L1.9 9.5 9 8.7z";

function row(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${24 * count()} 24`);
  svg.setAttribute("class", name);
  for (let at = 0; at < count(); at += 1) {
    const star = document.createElementNS(SVG, "path");
    star.setAttribute("d", STAR);
    star.setAttribute("transform", `translate(${24 * at} 0)`);
    svg.append(star);
  }
  return svg;
}

/**
 * A star control.
 * @param {{label: string, value: number|null, onCommit: function(number), onConfirm?: function, big?: boolean}} options
 *   onCommit gets each chosen value; onConfirm runs on Enter, Space, and a click after its onCommit
 * @returns {HTMLElement & {set: function(number|null)}} the control; `set` shows a value without a callback
 */
export function stars({ label, value, onCommit, onConfirm = () => {}, big = false }) {
  const lit = el("span", { class: "lit" }, row("row"));
  const node = el("div", { class: big ? "stars big" : "stars", role: "slider", tabindex: "0", "aria-label": label },
    row("row"), lit);
  setVar(node, "--count", count());
  let current = value;

  const paint = (shown) => setVar(node, "--share", share(shown));
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
    const box = node.getBoundingClientRect();
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

/** The start of an unrated control: one step from the middle of the scale, so that the first key reaches it. */
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
