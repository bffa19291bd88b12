// The ticket: one film, chosen anywhere on the page, with its words, what lies close to it, and stars to rate it.
import * as api from "./api.js";
import { announce, byId, el, listed } from "./dom.js";
import { genreLine, spoken, titled } from "./films.js";
import { rate, unrate } from "./state.js";
import { stars } from "./stars.js";

let opener = null;

/** Closes the ticket and gives the keyboard back to where it was opened from. */
export function closeTicket() {
  const ticket = byId("ticket");
  if (ticket.hidden) return;
  const back = ticket.contains(document.activeElement);
  ticket.hidden = true;
  api.drop("film", "similar");
  if (back) (opener?.isConnected ? opener : byId("search")).focus({ preventScroll: true });
}

/**
 * Opens a film.
 * @param {Object} film item_id, title, year, genres
 * @param {Element} from where the keyboard returns to
 * @param {number|null} rating how it is rated now
 */
export function openTicket(film, from, rating) {
  const ticket = byId("ticket");
  const name = spoken(film.title, film.year);
  opener = from;
  let value = rating;
  const done = el("button", { class: "solid", type: "button", id: "ticket-rate", on: { click: () => keep() } },
    rating === null ? "Add rating" : "Change rating");
  done.disabled = rating === null;
  const keep = () => {
    if (value === null) return;
    rate(film, value);
    announce(`${name} rated ${value}`);
    closeTicket();
  };
  const control = stars({
    label: `Your rating of ${name}`, value: rating, big: true, onConfirm: keep,
    onCommit: (next) => {
      value = next;
      done.disabled = false;
    },
  });
  const words = el("p", { class: "ticket-words" });
  const close = el("div", { class: "ticket-close" });
  ticket.dataset.itemId = film.item_id;
  ticket.replaceChildren(
    el("button", { class: "close", type: "button", "aria-label": "Close", on: { click: closeTicket } }, "\u00d7"),
    el("h2", { id: "ticket-title" }, titled(film)),
    el("p", { class: "genres", text: genreLine(film) }),
    el("div", { class: "ticket-row" }, control, done, rating === null ? null : remover(film, name)),
    words, close);
  ticket.hidden = false;
  control.focus({ preventScroll: true });
  describe(film, from, words, close);
}

function remover(film, name) {
  const remove = () => {
    unrate(film.item_id);
    announce(`${name} removed`);
    closeTicket();
  };
  return el("button", { class: "quiet", type: "button", on: { click: remove } }, "Remove");
}

/** The film in words and its neighbours: an ornament, so a fault here is not worth a message. */
async function describe(film, from, words, close) {
  const asking = [api.explainItems([film.item_id], 4), api.similarItems(film.item_id, 3)];
  const [told, near] = await Promise.allSettled(asking);
  if (told.status === "fulfilled" && told.value[0].tags.length) {
    words.replaceChildren("In words: ", ...listed(told.value[0].tags, (tag) =>
      el("span", { class: tag.strength < 0 ? "cold" : "warm", text: tag.strength < 0 ? `little ${tag.tag}` : tag.tag })), ".");
  }
  if (near.status === "fulfilled" && near.value.length) {
    const line = (other) => {
      const jump = () => openOther(other, from);
      return el("li", {}, el("button", { class: "film-button", type: "button", on: { click: jump } }, titled(other)));
    };
    close.replaceChildren(el("p", { text: "Close to it:" }), el("ul", {}, ...near.value.map(line)));
  }
}

let ratingOf = () => null;
const openOther = (film, from) => openTicket(film, from, ratingOf(film.item_id));

/** Starts the ticket: Escape closes it wherever the keyboard is in it. */
export function startTicket(rated) {
  ratingOf = rated;
  byId("ticket").addEventListener("keydown", (event) => {
    if (event.key === "Escape") closeTicket();
  });
}
