// What to watch: films with the reason for each, and how steering moved them.
import { announce, byId, el, listed, reconcile, signed } from "./dom.js";
import { genreLine, spoken, titled } from "./films.js";

/**
 * Shows recommendations.
 * @param {Array} films from the service, best first
 * @param {{plain: Array|null, choose: function(Object, Element)}} given the list without steering, to say what
 *   moved (null when nothing is steered), and what + does
 */
export function showRecommendations(films, { plain, choose }) {
  const ranks = plain && new Map(plain.map((film) => [film.item_id, film.rank]));
  reconcile(byId("recommendations"), films, {
    key: (film) => film.item_id,
    make: (film) => make(film, choose),
    fill: (node, film) => fill(node, film, ranks),
  });
  byId("watch-empty").hidden = films.length > 0;
  const moved = ranks ? films.filter((film) => ranks.get(film.item_id) !== film.rank).length : 0;
  byId("watch-note").textContent = ranks
    ? `Steered. ${moved} of ${films.length} films are new or moved against your list without steering.`
    : "Films you have not rated, nearest to your taste first.";
  if (films.length) announce(`${films.length} recommendations updated${ranks ? `, ${moved} moved by steering` : ""}`);
}

function make(film, choose) {
  const add = el("button", {
    class: "add", type: "button", "aria-label": `Rate ${spoken(film.title, film.year)}`, title: "Seen it? Rate it",
    on: { click: () => choose(film, add) },
  }, "+");
  return el("li", { dataset: { itemId: film.item_id } },
    el("span", { class: "rank" }),
    el("div", { class: "what" }, titled(film), " ", el("span", { class: "genres", text: genreLine(film) }),
      el("p", { class: "why" })),
    el("span", { class: "move" }), add);
}

function fill(node, film, ranks) {
  node.dataset.rank = film.rank;
  node.querySelector(".rank").textContent = film.rank;
  const move = node.querySelector(".move");
  const [kind, text, told] = moveOf(film, ranks);
  move.dataset.move = kind;
  move.replaceChildren(el("span", { "aria-hidden": "true", text }), el("span", { class: "unseen", text: told }));
  const why = node.querySelector(".why");
  why.hidden = !film.why?.length;
  if (film.why?.length) why.replaceChildren(...reasons(film.why));
}

function moveOf(film, ranks) {
  if (!ranks) return ["none", "", ""];
  const before = ranks.get(film.item_id);
  if (before === undefined) return ["new", "new", "new by steering"];
  if (before === film.rank) return ["none", "", ""];
  const by = Math.abs(before - film.rank);
  if (before > film.rank) return ["up", `\u2191${by}`, `up ${by} by steering`];
  return ["down", `\u2193${by}`, `down ${by} by steering`];
}

/** "For Alien +0.12 and Brazil +0.08, in spite of Big \u22120.03": what each film does to this one's score. */
function reasons(why) {
  const named = (cause) => el("span", { class: "cause" }, titled(cause, { year: false }), "\u00a0",
    el("span", { class: "effect", text: signed(cause.effect, 2) }));
  const pulls = why.filter((cause) => cause.effect >= 0);
  const holds = why.filter((cause) => cause.effect < 0);
  const parts = [];
  if (pulls.length) parts.push("For ", ...listed(pulls, named));
  if (holds.length) parts.push(pulls.length ? ", in spite of " : "In spite of ", ...listed(holds, named));
  return parts;
}
