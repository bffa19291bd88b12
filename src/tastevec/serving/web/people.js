// The nearest people and what they liked.
import { byId, el, reconcile } from "./dom.js";
import { spoken, titled } from "./films.js";

/**
 * Shows neighbours.
 * @param {Array} users from the service, nearest first
 * @param {function(Object, Element)} choose what choosing one of their films does
 * @param {string} [empty] what is said where there is nobody
 */
export function showPeople(users, choose, empty = "Your neighbours appear here after the first rating.") {
  byId("people-empty").hidden = users.length > 0;
  byId("people-empty").textContent = empty;
  reconcile(byId("people-list"), users, {
    key: (user) => user.user_id,
    make: () => el("li", {}, el("h3"), el("p", { class: "likeness" }), el("ul", { class: "favourites" })),
    fill: (node, user) => fill(node, user, choose),
  });
}

function fill(node, user, choose) {
  node.querySelector("h3").textContent = `Person ${user.user_id}`;
  node.querySelector(".likeness").textContent = `likeness ${user.similarity.toFixed(2)}`;
  node.querySelector("ul").replaceChildren(...user.favourites.map((film) => el("li", {}, button(film, choose))));
}

function button(film, choose) {
  const node = el("button", {
    class: "film-button", type: "button", "aria-label": `Rate ${spoken(film.title, film.year)}`,
    on: { click: () => choose(film, node) },
  }, titled(film));
  return node;
}
