// The list of rated or added items, newest first, each with its rating and a button to remove it.
import { announce, byId, el, reconcile } from "./dom.js";
import { itemButton, spoken, titled } from "./items.js";
import { addedValue, ratingControl } from "./rating.js";
import { rate, unrate } from "./state.js";

/**
 * Shows the ratings.
 * @param {Array} ratings oldest first
 * @param {Set} unknown item IDs that are not in the catalog
 */
export function showRated(ratings, unknown) {
  byId("rated-count").textContent = ratings.length ? String(ratings.length) : "";
  byId("rated-empty").hidden = ratings.length > 0;
  reconcile(byId("rated-list"), ratings.toReversed(), {
    key: (item) => item.item_id,
    make,
    fill: (node, item) => {
      node.rating?.set(item.rating);
      node.querySelector(".unknown").hidden = !unknown.has(item.item_id);
    },
  });
}

/** Shows popular items to start with, while there are no ratings. */
export function showStarters(items, choose) {
  byId("starters").replaceChildren(...items.map((item) => el("li", {}, itemButton(item, choose))));
}

function make(item) {
  const name = spoken(item.title, item.year);
  const node = el("li", { dataset: { itemId: item.item_id } });
  if (addedValue() === null) {
    const label = `Your rating of ${name}`;
    node.rating = ratingControl({ label, value: item.rating, onCommit: (value) => rate(item, value) });
  }
  const button = el("button", {
    class: "close", type: "button", "aria-label": `Remove ${name}`, title: "Remove",
    on: { click: () => remove(node, item, name) },
  }, "\u00d7");
  const unknown = el("span", { class: "unknown", hidden: true }, "unknown to this model");
  node.append(el("span", { class: "what" }, titled(item), unknown), ...(node.rating ? [node.rating] : []), button);
  return node;
}

/** Removes a rating and moves the focus to the next one, or to the search box. */
function remove(node, item, name) {
  const next = node.nextElementSibling ?? node.previousElementSibling;
  unrate(item.item_id);
  (next?.querySelector(".close") ?? byId("search")).focus();
  announce(`${name} removed`);
}
