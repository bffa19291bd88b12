// The taste vector drawn as the soundtrack of a strip of film: one bar a number, warm above zero, cold below.
import { byId, el, setVar } from "./dom.js";

const SOFT = 0.7; // below 1 the small numbers are lifted, so that one large number does not silence the rest

/**
 * Draws a vector; the bars that are there move to their new heights.
 * @param {number[]|null} vector null draws a silent track
 * @param {{print?: string, told?: string}} [words] the print on the film's edge, and what a screen reader is told
 */
export function showStrip(vector, { print = "", told = "The taste vector, not yet drawn" } = {}) {
  const track = byId("strip-track");
  const numbers = vector ?? new Array(64).fill(0);
  while (track.children.length < numbers.length) track.append(el("i"));
  while (track.children.length > numbers.length) track.lastChild.remove();
  const most = Math.max(...numbers.map(Math.abs)) || 1;
  numbers.forEach((number, at) => {
    const bar = track.children[at];
    bar.className = number < 0 ? "cold" : "warm";
    setVar(bar, "--height", Math.max(0.02, (Math.abs(number) / most) ** SOFT).toFixed(3));
    bar.title = `number ${at + 1}: ${number.toFixed(3)}`;
  });
  track.setAttribute("aria-label", told);
  byId("strip-print").textContent = print;
}
