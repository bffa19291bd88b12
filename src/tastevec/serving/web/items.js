// Titles and counts of items, in the noun of the model's catalog.
import { el } from "./dom.js";

let noun = { one: "item", many: "items" };

/** Replaces {item}, {items} and {Items} by the noun. */
export function worded(text) {
  return text
    .replace("{items}", noun.many)
    .replace("{item}", noun.one)
    .replace("{Items}", noun.many[0].toUpperCase() + noun.many.slice(1));
}

/** Sets the noun, and the texts of the page that contain it. */
export function setNoun(given) {
  noun = given;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = worded(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", worded(node.dataset.label));
}

const ARTICLES = "The|A|An|La|Le|Les|L'|Il|Lo|El|Los|Las|Das|Der|Die|Den|Det|Un|Une|Una";
const MOVED = new RegExp(`^(.+?), (${ARTICLES})(?= \\(|$)`);

/** "Matrix, The (1999)" as "The Matrix", without a year that the title repeats. */
export function spoken(title, year) {
  const bare = year ? title.replace(new RegExp(`\\s*\\(${year}\\)\\s*$`), "") : title;
  return bare.replace(MOVED, (_, name, article) => (article.endsWith("'") ? article + name : `${article} ${name}`));
}

/** The title and the year of an item, as nodes for a line of text. */
export function titled(item, { year = true } = {}) {
  const shown = item.year ?? yearIn(item.title);
  const name = el("cite", { class: "title", text: spoken(item.title, shown) });
  if (!year || !shown) return name;
  return el("span", { class: "titled" }, name, " ", el("span", { class: "year", text: String(shown) }));
}

/** Contributions have no year of their own: the year in the title replaces it. */
function yearIn(title) {
  return /\((\d{4})\)\s*$/.exec(title)?.[1] ?? null;
}

/** At most two genres, in one short line. */
export const genreLine = (item) => (item.genres ?? []).slice(0, 2).join(", ");

/** A button with the title of an item; `choose(item, button)` runs when it is pressed. */
export function itemButton(item, choose, label = null) {
  const button = el("button", {
    class: "item-button", type: "button", "aria-label": label, on: { click: () => choose(item, button) },
  }, titled(item));
  return button;
}
