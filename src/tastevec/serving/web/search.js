// The title search: a combobox with options from the service.
import * as api from "./api.js";
import { announce, byId, debounced, el } from "./dom.js";
import { genreLine, titled, worded } from "./items.js";
import { say } from "./messages.js";
import { addedValue } from "./rating.js";

const LIMIT = 8;
const WAIT = 140;

/**
 * Starts the search box.
 * @param {{choose: function(Object), ratingOf: function(number|string): number|null}} options the action for a chosen item,
 *   and the current rating of an item
 */
export function startSearch({ choose, ratingOf }) {
  const box = byId("search");
  const list = byId("search-options");
  let items = [];
  let active = -1;

  const close = () => {
    items = [];
    active = -1;
    list.hidden = true;
    list.replaceChildren();
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  };
  const light = (at) => {
    active = at;
    [...list.children].forEach((node, here) => node.setAttribute("aria-selected", String(here === at)));
    if (at < 0) box.removeAttribute("aria-activedescendant");
    else {
      box.setAttribute("aria-activedescendant", list.children[at].id);
      list.children[at].scrollIntoView({ block: "nearest" });
    }
  };
  const take = (item) => {
    box.value = "";
    close();
    choose(item);
  };
  const show = (found) => {
    items = found;
    const options = found.map((item, at) => option(item, at, ratingOf(item.item_id), () => take(item)));
    const none = el("li", { class: "none", role: "option", "aria-disabled": "true" }, "No results.");
    list.replaceChildren(...(options.length ? options : [none]));
    list.hidden = false;
    box.setAttribute("aria-expanded", "true");
    light(found.length ? 0 : -1);
    announce(found.length === 1 ? "1 result" : `${found.length} results`);
  };
  const look = debounced(async () => {
    const query = box.value.trim();
    if (!query) return close();
    try {
      const found = await api.items(query, LIMIT);
      if (box.value.trim() === query) show(found);
    } catch (error) {
      if (!api.isAbort(error)) say(error.message, { about: "search", bad: true, action: { label: "Try again", run: look } });
    }
  }, WAIT);

  box.addEventListener("input", look);
  box.addEventListener("blur", close);
  box.addEventListener("keydown", (event) => {
    const last = items.length - 1;
    if (event.key === "ArrowDown" && items.length) light(active >= last ? 0 : active + 1);
    else if (event.key === "ArrowDown" && box.value.trim()) look();
    else if (event.key === "ArrowUp" && items.length) light(active <= 0 ? last : active - 1);
    else if (event.key === "Enter" && active >= 0) take(items[active]);
    else if (event.key === "Escape" && !list.hidden) close();
    else if (event.key === "Escape") box.value = "";
    else return;
    event.preventDefault();
  });
}

function option(item, at, rating, take) {
  const note = rating === null ? genreLine(item) : worded("{rated}") + (addedValue() === null ? ` ${rating}` : "");
  const node = el("li", { id: `search-option-${at}`, role: "option", dataset: { itemId: item.item_id } },
    titled(item), el("span", { class: "genres", text: note }));
  // Without this the press takes the focus from the box, which closes the list before the click.
  node.addEventListener("mousedown", (event) => event.preventDefault());
  node.addEventListener("click", take);
  return node;
}
