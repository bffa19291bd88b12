// Titles and counts of items, in the noun of the model's catalog; and what a user does with them, rate or add.
import { el } from "./dom.js";

const RATED = { rating: "rating", ratings: "ratings", rate: "rate", Rate: "Rate", rated: "rated" };
let words = { item: "item", items: "items", Items: "Items", ...RATED };

/** Replaces {item}, {items}, {Items}, {rating}, {ratings}, {rate}, {Rate} and {rated} by the words of the model. */
export const worded = (text) => text.replace(/\{(\w+)\}/g, (placeholder, name) => words[name] ?? placeholder);

/** "5 ratings"; where items are added without a rating, "5 {items}". */
export const counted = (number) => worded(`${number} ${number === 1 ? "{rating}" : "{ratings}"}`);

/**
 * Sets the words, and the texts of the page that contain them.
 * @param {{one: string, many: string}} noun
 * @param {boolean} rates whether a user rates an item, or only adds it
 */
export function setWords({ one, many }, rates) {
  const added = { rating: one, ratings: many, rate: "add", Rate: "Add", rated: "added" };
  words = { item: one, items: many, Items: many[0].toUpperCase() + many.slice(1), ...(rates ? RATED : added) };
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
