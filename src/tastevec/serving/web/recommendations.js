// Recommendations with their contributions, and their rank changes after an adjustment.
import { announce, byId, el, listed, reconcile, signed } from "./dom.js";
import { genreLine, spoken, titled, worded } from "./items.js";

/**
 * Shows recommendations.
 * @param {Array} items from the service, best first
 * @param {{plain: Array|null, choose: function(Object, Element)}} options the list without adjustments, for the rank
 *   changes (null without adjustments), and the action of the + button
 */
export function showRecommendations(items, { plain, choose }) {
  const ranks = plain && new Map(plain.map((item) => [item.item_id, item.rank]));
  reconcile(byId("recommendations"), items, {
    key: (item) => item.item_id,
    make: (item) => make(item, choose),
    fill: (node, item) => fill(node, item, ranks),
  });
  byId("recommend-empty").hidden = items.length > 0;
  const changed = ranks ? items.filter((item) => ranks.get(item.item_id) !== item.rank).length : 0;
  byId("recommend-note").textContent = ranks
    ? `Adjusted: ${changed} of ${items.length} recommendations changed.`
    : worded("Not yet {rated}, best match first.");
  if (items.length) announce(`${items.length} recommendations updated${ranks ? `, ${changed} changed after your adjustment` : ""}`);
}

function make(item, choose) {
  const add = el("button", {
    class: "add", type: "button", "aria-label": `${worded("{Rate}")} ${spoken(item.title, item.year)}`, title: worded("{Rate} it"),
    on: { click: () => choose(item, add) },
  }, "+");
  return el("li", { dataset: { itemId: item.item_id } },
    el("span", { class: "rank" }),
    el("div", { class: "what" }, titled(item), " ", el("span", { class: "genres", text: genreLine(item) }),
      el("p", { class: "because" })),
    el("span", { class: "move" }), add);
}

function fill(node, item, ranks) {
  node.dataset.rank = item.rank;
  node.querySelector(".rank").textContent = item.rank;
  const move = node.querySelector(".move");
  const [kind, text, label] = moveOf(item, ranks);
  move.dataset.move = kind;
  move.replaceChildren(el("span", { "aria-hidden": "true", text }), el("span", { class: "visually-hidden", text: label }));
  const because = node.querySelector(".because");
  because.hidden = !item.contributions?.length;
  if (item.contributions?.length) because.replaceChildren(...reasons(item.contributions));
}

function moveOf(item, ranks) {
  if (!ranks) return ["none", "", ""];
  const before = ranks.get(item.item_id);
  if (before === undefined) return ["new", "new", "new after your adjustment"];
  if (before === item.rank) return ["none", "", ""];
  const by = Math.abs(before - item.rank);
  if (before > item.rank) return ["up", `\u2191${by}`, `up ${by} after your adjustment`];
  return ["down", `\u2193${by}`, `down ${by} after your adjustment`];
}

/** "Because of Alien +0.012 and Brazil +0.008; despite Big \u22120.003": the contributions to the score, a cosine. */
function reasons(contributions) {
  const named = (item) => el("span", { class: "contribution" }, titled(item, { year: false }), "\u00a0",
    el("span", { class: "effect", text: signed(item.effect, 3) }));
  const positive = contributions.filter((item) => item.effect >= 0);
  const negative = contributions.filter((item) => item.effect < 0);
  const parts = [];
  if (positive.length) parts.push("Because of ", ...listed(positive, named));
  if (negative.length) parts.push(positive.length ? "; despite " : "Despite ", ...listed(negative, named));
  return parts;
}
