// The headline: the profile in one sentence, and whose profile it is.
import { byId, el, listed } from "./dom.js";
import { worded } from "./items.js";
import { hasTags } from "./tags.js";

const MIN_RELIABILITY = 0.35;
const MIN_STRENGTH = 0.4;

/**
 * Shows the headline.
 * @param {Array} tags tags of the profile, strongest first; none shows the invitation
 */
export function showHeadline(tags) {
  const clear = tags.filter((tag) => tag.reliability >= MIN_RELIABILITY && Math.abs(tag.strength) >= MIN_STRENGTH);
  const more = clear.filter((tag) => tag.strength > 0).slice(0, 3);
  const less = clear.filter((tag) => tag.strength < 0).slice(0, 2);
  const word = (kind) => (tag) => el("span", { class: kind, text: tag.tag });
  const parts = [];
  if (more.length) parts.push("More ", ...listed(more, word("warm")));
  if (less.length) parts.push(more.length ? " than average, less " : "Less ", ...listed(less, word("cold")));
  if (more.length && less.length) byId("headline").replaceChildren(...parts, ".");
  else if (parts.length) byId("headline").replaceChildren(...parts, " than average.");
  else if (tags.length) byId("headline").textContent = "Close to the average user so far.";
  else byId("headline").textContent = worded(`{Rate} a few {items} to see ${hasTags() ? "your taste profile" : "recommendations"}.`);
}

/**
 * Shows whose profile this is.
 * @param {{name: string, changed?: boolean}|null} example null for the user's own ratings
 */
export function showOwner(example) {
  byId("profile-name").textContent = example ? `Example profile: ${example.name}` : "Your taste";
  byId("example-note").hidden = !example;
  byId("load-example").hidden = Boolean(example);
  byId("example-text").textContent = example?.changed
    ? "Example profile, with your changes."
    : worded("These {ratings} are an example. Edit them to see what changes, or start with your own.");
}
