// The item map: its legend, its tooltip, and the position of the user.
import * as api from "./api.js";
import { announce, byId, el, setVar } from "./dom.js";
import { itemButton, spoken, titled } from "./items.js";
import { gridOf, nearestPoints } from "./mapgrid.js";
import { listenToMap } from "./mapinput.js";
import { viewOf } from "./mapview.js";
import { awaited } from "./messages.js";

const GROUPS = 11; // genres with their own color; the others share the twelfth
const OTHER = "Other";
const NEAREST = 8;
const REACH = 14; // pixels around the pointer that select an item
const KEY_REACH = 90; // pixels around the center of the map, for the keyboard

let chart = null;

/**
 * Loads and starts the map; without one, shows that the model has none.
 * @param {function(Object, Element)} choose runs when an item is chosen
 * @param {function(Array)} popular gets the most popular item of each genre with its own color
 */
export async function startMap(choose, popular) {
  const section = byId("map");
  const response = await awaited(section, api.map().catch(absent), () => startMap(choose, popular));
  if (response === null) return;
  if (response.absent) return showNoMap();
  byId("map-body").hidden = false;
  chart = chartOf(response, choose);
  chart.follow(pending);
  popular(chart.popular);
}

const absent = (error) => {
  if (error.status === 404) return { absent: true };
  throw error;
};

/** Shows that this model has no map. */
export function showNoMap() {
  byId("map-note").textContent = "This model has no map.";
}

let pending = { position: null, ratings: [] };

/** Shows the position of the user and the rated items, once the map is loaded. */
export function showMapPosition(position, ratings) {
  pending = { position, ratings };
  chart?.follow(pending);
}

/** The genres by how many items list them first, and the group of each item. */
function grouped(genres) {
  const counts = new Map();
  for (const genre of genres) if (genre) counts.set(genre, (counts.get(genre) ?? 0) + 1);
  const named = [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one)).slice(0, GROUPS);
  const at = new Map(named.map((genre, here) => [genre, here]));
  const group = Uint8Array.from(genres, (genre) => at.get(genre) ?? named.length);
  return { names: group.includes(named.length) ? [...named, OTHER] : named, group };
}

function chartOf(response, choose) {
  const { item_ids: ids, titles, years, x, y, n_train_users: popularity, genres } = response;
  const canvas = byId("map-canvas");
  const { names, group } = grouped(genres);
  const selected = new Set(); // groups of the filter; none means all
  const rowOf = new Map(ids.map((id, at) => [id, at]));
  const item = (at) => ({ item_id: ids[at], title: titles[at], year: years[at], genres: genres[at] ? [genres[at]] : [] });
  const lit = (which) => selected.size === 0 || selected.has(which);
  const shown = (at) => lit(group[at]);
  const order = Int32Array.from(ids, (_, at) => at).sort((one, other) => popularity[other] - popularity[one]);
  const marks = { rated: [], marked: -1, position: null };

  const swatches = showLegend(names, selected, () => view.redraw());
  let paint = null;
  const look = () => ({ ...(paint ??= paints(canvas, swatches)), ...marks, lit });
  const view = viewOf(canvas, { x, y, group, order, names: (at) => spoken(titles[at], years[at]) }, look);
  const grid = gridOf(x, y);
  document.documentElement.addEventListener("themechange", () => {
    paint = null;
    view.redraw();
  });

  const under = (point, reach = REACH) => grid.nearest(...view.toMap(...point), view.reach(reach), shown);
  const mark = (at) => {
    if (marks.marked === at) return;
    marks.marked = at;
    view.redraw();
  };
  const tip = (at, announced) => {
    mark(at);
    showTip(at < 0 ? null : item(at), at < 0 ? null : view.toScreen(x[at], y[at]), canvas.clientWidth);
    canvas.dataset.item = at < 0 ? "" : ids[at];
    if (at >= 0 && announced) announce(`${spoken(titles[at], years[at])}, ${genres[at] ?? "no genre"}`);
  };
  const showAll = () => view.goTo([0.5, 0.5], 1);
  listenToMap(canvas, view, {
    hover: (point, keys) => tip(point ? under(point, keys ? KEY_REACH : REACH) : -1, keys),
    choose: (point, keys) => {
      const at = under(point, keys ? KEY_REACH : REACH);
      if (at >= 0) choose(item(at), canvas);
    },
    leave: () => tip(-1, false),
    showAll,
  });
  startZoom({
    in: () => view.zoomBy(1.6), out: () => view.zoomBy(1 / 1.6), all: showAll,
    you: () => marks.position && view.goTo(marks.position, Math.max(4, view.zoom())),
  });

  function follow({ position, ratings }) {
    marks.position = position;
    marks.rated = ratings.map((each) => rowOf.get(each.item_id)).filter((at) => at !== undefined);
    view.setPosition(position);
    view.redraw();
    document.querySelector('[data-zoom="you"]').disabled = !position;
    const known = new Set(marks.rated);
    const near = position ? nearestPoints(x, y, position, NEAREST, (at) => !known.has(at)) : [];
    showNearest(near.map(item), choose);
  }
  const popular = names.filter((name) => name !== OTHER).map((_, which) => item(order.find((at) => group[at] === which)));
  return { follow, popular };
}

/** The colors and fonts of the theme, from the computed styles of the swatches and the canvas. */
function paints(canvas, swatches) {
  const style = getComputedStyle(canvas);
  return {
    colors: swatches.map((swatch) => getComputedStyle(swatch).backgroundColor),
    ink: style.color,
    ground: style.backgroundColor,
    serif: style.getPropertyValue("--serif"),
    narrow: style.getPropertyValue("--narrow"),
  };
}

function showLegend(names, selected, redraw) {
  const swatches = names.map((name, at) => {
    const swatch = el("i");
    setVar(swatch, "--color", `var(--genre-${name === OTHER ? "other" : at + 1})`);
    return swatch;
  });
  const items = names.map((name, at) => {
    const flip = () => {
      if (!selected.delete(at)) selected.add(at);
      button.setAttribute("aria-pressed", String(selected.has(at)));
      redraw();
    };
    const button = el("button", { type: "button", "aria-pressed": "false", dataset: { genre: name }, on: { click: flip } },
      swatches[at], name);
    return el("li", {}, button);
  });
  byId("map-legend").replaceChildren(...items);
  return swatches;
}

function showTip(item, point, width) {
  const tip = byId("map-tip");
  tip.hidden = !item;
  if (!item) return;
  tip.replaceChildren(titled(item), el("span", { class: "genres", text: item.genres[0] ?? "" }));
  tip.dataset.side = point[0] > width / 2 ? "left" : "right";
  setVar(tip, "--left", `${point[0]}px`);
  setVar(tip, "--top", `${point[1]}px`);
}

function showNearest(items, choose) {
  byId("nearest-empty").hidden = items.length > 0;
  byId("map-nearest").replaceChildren(...items.map((item) => el("li", {}, itemButton(item, choose))));
}

function startZoom(moves) {
  for (const button of document.querySelectorAll("[data-zoom]")) {
    if (button.dataset.zoom in moves) button.addEventListener("click", moves[button.dataset.zoom]);
  }
}
