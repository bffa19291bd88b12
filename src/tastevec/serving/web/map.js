// The map of all films: its legend, its tip, and the person's place on it.
import * as api from "./api.js";
import { announce, byId, el, setVar } from "./dom.js";
import { spoken, titled } from "./films.js";
import { gridOf, nearestPoints } from "./mapgrid.js";
import { listenToMap } from "./mapinput.js";
import { viewOf } from "./mapview.js";
import { awaited } from "./messages.js";

const GROUPS = 11; // genres with a colour of their own; the rest share the twelfth
const OTHER = "Other";
const NEAREST = 8;
const REACH = 14; // pixels around the pointer in which a film counts as meant
const KEY_REACH = 90; // and around the middle of the map, which is all that the keyboard can point at

let chart = null;

/**
 * Loads the map and starts it; a model without one says so.
 * @param {function(Object, Element)} choose what choosing a film does
 * @param {function(Array)} famous gets the most watched film of each genre that has a colour
 */
export async function startMap(choose, famous) {
  const section = byId("map");
  const told = await awaited(section, api.map().catch(absent), () => startMap(choose, famous));
  if (told === null) return;
  if (told.absent) return showAbsent();
  byId("map-body").hidden = false;
  chart = chartOf(told, choose);
  chart.follow(pending);
  famous(chart.famous);
}

const absent = (error) => {
  if (error.status === 404) return { absent: true };
  throw error;
};

/** Says that this model has no map. */
export function showAbsent() {
  byId("map-note").textContent =
    "This model was saved without a map of its films. Everything else on this page works without it.";
}

let pending = { place: null, ratings: [] };

/** Shows where the person stands and what she rated; kept until the map is there. */
export function showPlace(place, ratings) {
  pending = { place, ratings };
  chart?.follow(pending);
}

/** Genres by how many films they lead, and the group of each film. */
function grouped(genres) {
  const counts = new Map();
  for (const genre of genres) if (genre) counts.set(genre, (counts.get(genre) ?? 0) + 1);
  const named = [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one)).slice(0, GROUPS);
  const at = new Map(named.map((genre, here) => [genre, here]));
  const group = Uint8Array.from(genres, (genre) => at.get(genre) ?? named.length);
  return { names: group.includes(named.length) ? [...named, OTHER] : named, group };
}

function chartOf(told, choose) {
  const { item_ids: ids, titles, years, x, y, watched, genres } = told;
  const canvas = byId("map-canvas");
  const { names, group } = grouped(genres);
  const wanted = new Set(); // groups asked for; none means all
  const rowOf = new Map(ids.map((id, at) => [id, at]));
  const film = (at) => ({ item_id: ids[at], title: titles[at], year: years[at], genres: genres[at] ? [genres[at]] : [] });
  const lit = (which) => wanted.size === 0 || wanted.has(which);
  const seen = (at) => lit(group[at]);
  const order = Int32Array.from(ids, (_, at) => at).sort((one, other) => watched[other] - watched[one]);
  const marks = { rated: [], marked: -1, place: null };

  const swatches = showLegend(names, wanted, () => view.redraw());
  let paint = null;
  const look = () => ({ ...(paint ??= paints(canvas, swatches)), ...marks, lit });
  const view = viewOf(canvas, { x, y, group, order, names: (at) => spoken(titles[at], years[at]) }, look);
  const grid = gridOf(x, y);
  document.documentElement.addEventListener("themechange", () => {
    paint = null;
    view.redraw();
  });

  const under = (place, reach = REACH) => grid.nearest(...view.toMap(...place), view.reach(reach), seen);
  const mark = (at) => {
    if (marks.marked === at) return;
    marks.marked = at;
    view.redraw();
  };
  const tip = (at, spokenToo) => {
    mark(at);
    showTip(at < 0 ? null : film(at), at < 0 ? null : view.toScreen(x[at], y[at]), canvas.clientWidth);
    canvas.dataset.film = at < 0 ? "" : ids[at];
    if (at >= 0 && spokenToo) announce(`${spoken(titles[at], years[at])}, ${genres[at] ?? "no genre"}`);
  };
  const whole = () => view.goTo([0.5, 0.5], 1);
  listenToMap(canvas, view, {
    hover: (place, keys) => tip(place ? under(place, keys ? KEY_REACH : REACH) : -1, keys),
    choose: (place, keys) => {
      const at = under(place, keys ? KEY_REACH : REACH);
      if (at >= 0) choose(film(at), canvas);
    },
    leave: () => tip(-1, false),
    whole,
  });
  startZoom({
    in: () => view.zoomBy(1.6), out: () => view.zoomBy(1 / 1.6), all: whole,
    you: () => marks.place && view.goTo(marks.place, Math.max(4, view.zoom())),
  });

  function follow({ place, ratings }) {
    marks.place = place;
    marks.rated = ratings.map((each) => rowOf.get(each.item_id)).filter((at) => at !== undefined);
    view.setPlace(place);
    view.redraw();
    document.querySelector('[data-zoom="you"]').disabled = !place;
    const known = new Set(marks.rated);
    const near = place ? nearestPoints(x, y, place, NEAREST, (at) => !known.has(at)) : [];
    showNearest(near.map(film), choose);
  }
  const famous = names.filter((name) => name !== OTHER).map((_, which) => film(order.find((at) => group[at] === which)));
  return { follow, famous };
}

/** Colours and type as the theme gives them: the swatches and the canvas are asked for what they really have. */
function paints(canvas, swatches) {
  const style = getComputedStyle(canvas);
  return {
    colours: swatches.map((swatch) => getComputedStyle(swatch).backgroundColor),
    ink: style.color,
    ground: style.backgroundColor,
    serif: style.getPropertyValue("--serif"),
    narrow: style.getPropertyValue("--narrow"),
  };
}

function showLegend(names, wanted, redraw) {
  const swatches = names.map((name, at) => {
    const swatch = el("i");
    setVar(swatch, "--colour", `var(--genre-${name === OTHER ? "other" : at + 1})`);
    return swatch;
  });
  const items = names.map((name, at) => {
    const flip = () => {
      if (!wanted.delete(at)) wanted.add(at);
      button.setAttribute("aria-pressed", String(wanted.has(at)));
      redraw();
    };
    const button = el("button", { type: "button", "aria-pressed": "false", dataset: { genre: name }, on: { click: flip } },
      swatches[at], name);
    return el("li", {}, button);
  });
  byId("map-legend").replaceChildren(...items);
  return swatches;
}

function showTip(film, place, width) {
  const tip = byId("map-tip");
  tip.hidden = !film;
  if (!film) return;
  tip.replaceChildren(titled(film), el("span", { class: "genres", text: film.genres[0] ?? "" }));
  tip.dataset.side = place[0] > width / 2 ? "left" : "right";
  setVar(tip, "--left", `${place[0]}px`);
  setVar(tip, "--top", `${place[1]}px`);
}

function showNearest(films, choose) {
  byId("nearest-empty").hidden = films.length > 0;
  byId("map-nearest").replaceChildren(...films.map((film) => {
    const pick = () => choose(film, button);
    const button = el("button", { class: "film-button", type: "button", on: { click: pick } }, titled(film));
    return el("li", {}, button);
  }));
}

function startZoom(moves) {
  for (const button of document.querySelectorAll("[data-zoom]")) {
    if (button.dataset.zoom in moves) button.addEventListener("click", moves[button.dataset.zoom]);
  }
}
