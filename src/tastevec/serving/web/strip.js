// The taste vector as a strip: one bar per dimension, warm above zero, cold below.
import { byId, el, setVar } from "./dom.js";
import { worded } from "./items.js";

const EXPONENT = 0.7; // below 1 raises small bars, so that one large value does not hide the others

/**
 * Draws a vector; existing bars move to their new heights.
 * @param {number[]|null} vector null draws an empty track
 * @param {{print?: string, label?: string}} [texts] the print on the strip's edge, and the label for screen readers
 */
export function showStrip(vector, { print = "", label = worded("Taste vector: no {ratings} yet") } = {}) {
  const track = byId("strip-track");
  const values = vector ?? new Array(64).fill(0);
  while (track.children.length < values.length) track.append(el("i"));
  while (track.children.length > values.length) track.lastChild.remove();
  const most = Math.max(...values.map(Math.abs)) || 1;
  values.forEach((value, at) => {
    const bar = track.children[at];
    bar.className = value < 0 ? "cold" : "warm";
    setVar(bar, "--height", Math.max(0.02, (Math.abs(value) / most) ** EXPONENT).toFixed(3));
    bar.title = `dimension ${at + 1}: ${value.toFixed(3)}`;
  });
  track.setAttribute("aria-label", label);
  byId("strip-print").textContent = print;
}
