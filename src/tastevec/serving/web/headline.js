// The first sight: one sentence that says the taste in words, and whose taste it is.
import { byId, el, listed } from "./dom.js";

const SURE = 0.35;
const STRONG = 0.4;

/**
 * Writes the sentence.
 * @param {Array} tags readings, strongest first; empty writes the invitation
 * @param {boolean} example whether it speaks about the example person, not to the reader
 */
export function showHeadline(tags, example) {
  const sayable = tags.filter((tag) => tag.confidence >= SURE && Math.abs(tag.strength) >= STRONG);
  const more = sayable.filter((tag) => tag.strength > 0).slice(0, 3);
  const less = sayable.filter((tag) => tag.strength < 0).slice(0, 2);
  const word = (kind) => (tag) => el("span", { class: kind, text: tag.tag });
  const parts = [example ? "Leans" : "You lean"];
  if (more.length) parts.push(" towards ", ...listed(more, word("warm")));
  if (less.length) parts.push(more.length ? ", away from " : " away from ", ...listed(less, word("cold")));
  if (parts.length > 1) byId("headline").replaceChildren(...parts, ".");
  else if (tags.length) byId("headline").textContent = "Close to the average person, so far.";
  else byId("headline").textContent = "Rate a few films and read your taste in words.";
}

/**
 * Says whose taste this is.
 * @param {{name: string, changed?: boolean}|null} example null for the person's own ratings
 */
export function showWhose(example) {
  byId("person").textContent = example ? `An example person: ${example.name}` : "Your taste in films";
  byId("example-note").hidden = !example;
  byId("load-example").hidden = Boolean(example);
  byId("example-text").textContent = example?.changed
    ? "This is the example person with your changes."
    : "This is nobody's real list. Change it and see what moves, or begin with your own films.";
}
