// The rating dialog: one item, chosen anywhere on the page, with its tags, similar items, and a control to rate it.
import * as api from "./api.js";
import { announce, byId, el, listed } from "./dom.js";
import { genreLine, itemButton, spoken, titled, worded } from "./items.js";
import { addedValue, ratingControl } from "./rating.js";
import { rate, unrate } from "./state.js";
import { hasTags } from "./tags.js";

let opener = null;

/** Closes the dialog and returns the focus to the element that opened it. */
export function closeDialog() {
  const dialog = byId("dialog");
  if (dialog.hidden) return;
  const focused = dialog.contains(document.activeElement);
  dialog.hidden = true;
  api.abort("item", "similar");
  if (focused) (opener?.isConnected ? opener : byId("search")).focus({ preventScroll: true });
}

/**
 * Opens an item.
 * @param {Object} item item_id, title, year, genres
 * @param {Element} from gets the focus back
 * @param {number|null} rating its current rating
 */
export function openDialog(item, from, rating) {
  const dialog = byId("dialog");
  const name = spoken(item.title, item.year);
  opener = from;
  const added = addedValue();
  let value = rating ?? added;
  const done = el("button", { class: "solid", type: "button", id: "dialog-rate", on: { click: () => save() } },
    rating === null ? worded("{Rate}") : "Update rating");
  done.disabled = value === null;
  const save = () => {
    if (value === null) return;
    rate(item, value);
    announce(`${name} ${worded("{rated}")}${added === null ? ` ${value}` : ""}`);
    closeDialog();
  };
  const control = added !== null ? null : ratingControl({
    label: `Your rating of ${name}`, value: rating, big: true, onConfirm: save,
    onCommit: (next) => {
      value = next;
      done.disabled = false;
    },
  });
  const tags = el("p", { class: "dialog-tags" });
  const similar = el("div", { class: "dialog-similar" });
  dialog.dataset.itemId = item.item_id;
  dialog.replaceChildren(
    el("button", { class: "close", type: "button", "aria-label": "Close", on: { click: closeDialog } }, "\u00d7"),
    el("h2", { id: "dialog-title" }, titled(item)),
    el("p", { class: "genres", text: genreLine(item) }),
    el("div", { class: "dialog-row" }, control, added === null || rating === null ? done : null,
      rating === null ? null : removeButton(item, name)),
    tags, similar);
  dialog.hidden = false;
  (control ?? dialog.querySelector(".dialog-row button")).focus({ preventScroll: true });
  describe(item, from, tags, similar);
}

function removeButton(item, name) {
  const remove = () => {
    unrate(item.item_id);
    announce(`${name} removed`);
    closeDialog();
  };
  return el("button", { class: "quiet", type: "button", on: { click: remove } }, "Remove");
}

/** Shows the tags and the similar items; they are optional, so a failure shows no message. */
async function describe(item, from, tags, similar) {
  const requests = [hasTags() ? api.explainItems([item.item_id], 4) : [], api.similarItems(item.item_id, 3)];
  const [explained, neighbors] = await Promise.allSettled(requests);
  if (explained.status === "fulfilled" && explained.value[0]?.tags.length) {
    tags.replaceChildren("Tags: ", ...listed(explained.value[0].tags, (tag) =>
      el("span", { class: tag.strength < 0 ? "cold" : "warm", text: tag.strength < 0 ? `less ${tag.tag}` : tag.tag })), ".");
  }
  if (neighbors.status === "fulfilled" && neighbors.value.length) {
    const open = (other) => openDialog(other, from, ratingOf(other.item_id));
    similar.replaceChildren(el("p", { text: "Similar:" }),
      el("ul", {}, ...neighbors.value.map((other) => el("li", {}, itemButton(other, open)))));
  }
}

let ratingOf = () => null;

/** Starts the dialog; Escape closes it. */
export function startDialog(ratings) {
  ratingOf = ratings;
  byId("dialog").addEventListener("keydown", (event) => {
    if (event.key === "Escape") closeDialog();
  });
}
