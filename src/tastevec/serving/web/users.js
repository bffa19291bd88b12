// The most similar users, and the items nearest to their taste.
import { byId, el, reconcile } from "./dom.js";
import { itemButton, spoken, worded } from "./items.js";

/**
 * Shows similar users.
 * @param {Array} users from the service, nearest first
 * @param {function(Object, Element)} choose runs when one of their items is chosen
 * @param {string} [empty] shown without users
 */
export function showUsers(users, choose, empty = worded("Similar users appear after your first {rating}.")) {
  byId("users-empty").hidden = users.length > 0;
  byId("users-empty").textContent = empty;
  reconcile(byId("users-list"), users, {
    key: (user) => user.user_id,
    make: () => el("li", {}, el("h3"), el("p", { class: "similarity" }), el("ul", { class: "nearest-items" })),
    fill: (node, user) => fill(node, user, choose),
  });
}

function fill(node, user, choose) {
  node.querySelector("h3").textContent = `User ${user.user_id}`;
  node.querySelector(".similarity").textContent = `similarity ${user.similarity.toFixed(2)}`;
  const line = (item) => el("li", {}, itemButton(item, choose, `${worded("{Rate}")} ${spoken(item.title, item.year)}`));
  node.querySelector("ul").replaceChildren(...user.nearest_items.map(line));
}
