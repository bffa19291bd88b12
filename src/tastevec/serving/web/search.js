// The film search: a combobox whose options follow what is typed.
import * as api from "./api.js";
import { announce, byId, debounced, el } from "./dom.js";
import { genreLine, titled } from "./films.js";
import { say } from "./messages.js";

const LIMIT = 8;
const WAIT = 140;

/**
 * Starts the search box.
 * @param {{choose: function(Object), ratingOf: function(number|string): number|null}} given what to do with a chosen
 *   film, and how it was rated
 */
export function startSearch({ choose, ratingOf }) {
  const box = byId("search");
  const list = byId("search-options");
  let films = [];
  let active = -1;

  const close = () => {
    films = [];
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
  const take = (film) => {
    box.value = "";
    close();
    choose(film);
  };
  const show = (found) => {
    films = found;
    const options = found.map((film, at) => option(film, at, ratingOf(film.item_id), () => take(film)));
    const none = el("li", { class: "none", role: "option", "aria-disabled": "true" }, "No film of this name here.");
    list.replaceChildren(...(options.length ? options : [none]));
    list.hidden = false;
    box.setAttribute("aria-expanded", "true");
    light(found.length ? 0 : -1);
    announce(found.length === 1 ? "1 film found" : `${found.length} films found`);
  };
  const look = debounced(async () => {
    const query = box.value.trim();
    if (!query) return close();
    try {
      const found = await api.items(query, LIMIT);
      if (box.value.trim() === query) show(found);
    } catch (error) {
      if (!api.dropped(error)) say(error.message, { about: "search", bad: true, action: { label: "Try again", run: look } });
    }
  }, WAIT);

  box.addEventListener("input", look);
  box.addEventListener("blur", close);
  box.addEventListener("keydown", (event) => {
    const last = films.length - 1;
    if (event.key === "ArrowDown" && films.length) light(active >= last ? 0 : active + 1);
    else if (event.key === "ArrowDown" && box.value.trim()) look();
    else if (event.key === "ArrowUp" && films.length) light(active <= 0 ? last : active - 1);
    else if (event.key === "Enter" && active >= 0) take(films[active]);
    else if (event.key === "Escape" && !list.hidden) close();
    else if (event.key === "Escape") box.value = "";
    else return;
    event.preventDefault();
  });
}

function option(film, at, rating, take) {
  const told = rating === null ? genreLine(film) : `rated ${rating}`;
  const node = el("li", { id: `search-option-${at}`, role: "option", dataset: { itemId: film.item_id } },
    titled(film), el("span", { class: "genres", text: told }));
  // On press, not on release: the box would lose the focus and close the list before the click.
  node.addEventListener("mousedown", (event) => event.preventDefault());
  node.addEventListener("click", take);
  return node;
}
