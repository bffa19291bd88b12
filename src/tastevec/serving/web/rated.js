// The list of films rated, newest first, each with its stars and a way to remove it.
import { announce, byId, el, reconcile } from "./dom.js";
import { spoken, titled } from "./films.js";
import { rate, unrate } from "./state.js";
import { stars } from "./stars.js";

/**
 * Shows the ratings.
 * @param {Array} ratings oldest first
 * @param {Set} unknown ids that the model's catalogue does not hold
 */
export function showRated(ratings, unknown) {
  const list = byId("rated-list");
  byId("rated-count").textContent = ratings.length ? String(ratings.length) : "";
  byId("rated-empty").hidden = ratings.length > 0;
  reconcile(list, ratings.toReversed(), {
    key: (film) => film.item_id,
    make,
    fill: (node, film) => {
      node.stars.set(film.rating);
      node.querySelector(".unknown").hidden = !unknown.has(film.item_id);
    },
  });
}

/** Well-known films to begin with, shown while nothing is rated. */
export function showStarters(films, choose) {
  byId("starters").replaceChildren(...films.map((film) => {
    const pick = () => choose(film, button);
    const button = el("button", { class: "film-button", type: "button", on: { click: pick } }, titled(film));
    return el("li", {}, button);
  }));
}

function make(film) {
  const name = spoken(film.title, film.year);
  const node = el("li", { dataset: { itemId: film.item_id } });
  node.stars = stars({ label: `Your rating of ${name}`, value: film.rating, onCommit: (value) => rate(film, value) });
  const remove = el("button", {
    class: "close", type: "button", "aria-label": `Remove ${name}`, title: "Remove",
    on: { click: () => takeAway(node, film, name) },
  }, "\u00d7");
  node.append(
    el("span", { class: "what" }, titled(film), el("span", { class: "unknown", hidden: true }, "not in this catalogue")),
    node.stars, remove);
  return node;
}

/** Removes a film and keeps the keyboard where it was: on the next film, or in the search box. */
function takeAway(node, film, name) {
  const next = node.nextElementSibling ?? node.previousElementSibling;
  unrate(film.item_id);
  (next?.querySelector(".close") ?? byId("search")).focus();
  announce(`${name} removed`);
}
