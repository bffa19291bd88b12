// The page: a change of ratings, adjustments, horizon or weight of dislikes sends requests and shows the responses.
import * as api from "./api.js";
import { openDialog, startDialog } from "./dialog.js";
import { announce, byId, debounced, setVar } from "./dom.js";
import { counted, setWords, worded } from "./items.js";
import { showMapPosition, showNoMap, startMap } from "./map.js";
import { awaited, say } from "./messages.js";
import { showHeadline, showOwner } from "./profile.js";
import { showRated, showStarters } from "./rated.js";
import { addedValue, onScale, setScale } from "./rating.js";
import { showRecommendations } from "./recommendations.js";
import { startSearch } from "./search.js";
import { copyLink, exportJson, startImport, unpacked } from "./share.js";
import { asUser, change, current, listen, stored } from "./state.js";
import { showStrip } from "./strip.js";
import { hasTags, showTags, startAdding } from "./tags.js";
import { showUsers } from "./users.js";

const RECOMMENDATIONS = 12;
const TAGS = 10;
const USERS = 4;
const STARTERS = 8;

let model = null;
const knownTags = new Map();
const results = { tags: [], vector: null, unknown: new Set() };

const ratingOf = (id) => current().ratings.find((each) => each.item_id === id)?.rating ?? null;
const choose = (item, from) => openDialog(item, from, ratingOf(item.item_id));
const weighed = () => (model.dislike_weight === null ? {} : { dislike_weight: current().dislikeWeight });
const adjusted = () => Object.keys(current().adjustments).length > 0;

async function refreshProfile() {
  if (!current().ratings.length || !hasTags()) return showProfile({ tags: [], map_position: null, unknown: [] });
  const response = await awaited(byId("profile"), api.explain(asUser(), TAGS, weighed()), refresh);
  if (response) showProfile(response);
}

function showProfile({ tags, map_position: position, unknown }) {
  results.tags = tags;
  results.unknown = new Set(unknown);
  showHeadline(tags);
  showTags(tags, current().adjustments, knownTags);
  showRated(current().ratings, results.unknown);
  showMapPosition(position, current().ratings);
}

async function refreshRecommendations() {
  const { ratings, adjustments, horizon } = current();
  if (!ratings.length) {
    showRecommendations([], { plain: null, choose });
    byId("recommend-note").textContent = "";
    return;
  }
  const options = { k: RECOMMENDATIONS, horizon, ...weighed() };
  const plain = adjusted() ? api.recommend("plain", asUser(), options) : null;
  const withTags = { ...options, contributions: 2, ...(plain && { tags: adjustments }) };
  const list = api.recommend("recommend", asUser(), withTags);
  const response = await awaited(byId("recommend"), Promise.all([list, plain]), refresh);
  if (response) showRecommendations(response[0].items, { plain: response[1]?.items ?? null, choose });
}

async function refreshVector() {
  const { ratings, adjustments, horizon } = current();
  if (!ratings.length) return showVector(null);
  const how = { horizon, ...weighed() };
  const request = adjusted() ? api.steer(asUser(), adjustments, how) : api.encode(asUser(), how);
  const response = await awaited(byId("strip"), request, refresh);
  if (response) showVector(response.vector);
}

function showVector(vector) {
  results.vector = vector;
  if (!vector) return showStrip(null);
  const { ratings, horizon } = current();
  const count = counted(ratings.length);
  const [least, most] = [Math.min(...vector), Math.max(...vector)].map((value) => value.toFixed(2));
  const dimensions = `${vector.length} dimensions`;
  const print = [dimensions, count, horizon, ...(adjusted() ? ["adjusted"] : []), `space ${model.space}`];
  showStrip(vector, {
    print: print.join("  \u25b8  "),
    label: `Taste vector: ${dimensions} from ${least} to ${most}, based on ${count}, horizon ${horizon}`,
  });
}

async function refreshUsers() {
  if (model.n_users === 0) return;
  if (!current().ratings.length) return showUsers([], choose);
  const request = api.similarUsers(asUser(), USERS, weighed()).catch(withoutUsers);
  const response = await awaited(byId("users"), request, refresh);
  if (response) showUsers(response.users, choose, response.empty);
}

/** Missing users are not an error of the page: their section shows the reason. */
function withoutUsers(error) {
  const empty = {
    no_users: "No users are stored yet.",
    store_unavailable: "The user database is unavailable. Try again later.",
  }[error.code];
  if (!empty) throw error;
  return { users: [], empty };
}

/** Aborts all requests: without ratings there is nothing to wait for. */
function stopWaiting() {
  api.abort("explain", "recommend", "plain", "vector", "users");
  for (const id of ["profile", "recommend", "strip", "users"]) byId(id).removeAttribute("aria-busy");
}

function refresh() {
  if (!model) return begin();
  if (!current().ratings.length) stopWaiting();
  return Promise.all([refreshProfile(), refreshRecommendations(), refreshVector(), refreshUsers()]).then(() => {
    delete document.querySelector(".panels").dataset.waiting;
  });
}

const refreshSoon = debounced(refresh, 260);
const adjustSoon = debounced(() => Promise.all([refreshRecommendations(), refreshVector()]), 160);

/** Shows at once what needs no request; the rest follows when the changes have settled. */
function onChange(changed) {
  if (changed.has("ratings") || changed.has("example")) {
    showRated(current().ratings, results.unknown);
    showOwner(current().example);
  }
  if (changed.has("adjustments")) showTags(results.tags, current().adjustments, knownTags);
  if (changed.has("horizon")) byId("horizon").elements[current().horizon === "next" ? 0 : 1].checked = true;
  if (changed.has("dislikeWeight")) showDislikeWeight(current().dislikeWeight);
  if (changed.has("ratings") || changed.has("dislikeWeight")) refreshSoon();
  else if (changed.has("adjustments") || changed.has("horizon")) adjustSoon();
}

function showDislikeWeight(weight) {
  const input = byId("dislike-weight");
  byId("dislikes").hidden = weight === null;
  if (weight === null) return;
  if (Number(input.value) !== weight) input.value = weight;
  setVar(input, "--from", 0);
  setVar(input, "--to", weight);
  input.setAttribute("aria-valuetext", `${Math.round(100 * weight)} percent`);
}

/** Replaces the ratings, with an undo button when there were own ratings. */
function replaceRatings(ratings, example, text) {
  const { ratings: before, example: previous, adjustments } = current();
  change({ ratings, example, adjustments: {} });
  if (before.length && (!previous || previous.changed)) {
    const undo = () => change({ ratings: before, example: previous, adjustments });
    say(text, { about: "replaced", action: { label: "Undo", run: undo } });
  }
}

async function loadExample() {
  const response = await awaited(byId("rate"), api.example(), loadExample);
  if (!response) return;
  const ratings = response.interactions.map(({ value, ...item }) => ({ ...item, rating: value }));
  replaceRatings(ratings, { name: response.name }, worded("Replaced your {ratings} with the example."));
  announce(`Example profile loaded: ${response.name}`);
}

function startOwn() {
  replaceRatings([], null, "Ratings cleared.");
  byId("search").focus();
}

/** Restores the ratings of a link, without unknown items, with the titles of the catalog. */
async function restoreLink(ratings) {
  const retry = () => restoreLink(ratings);
  const response = await awaited(byId("rate"), api.encode(asUser(ratings), {}, "link"), retry);
  if (!response) return;
  const unknown = new Set(response.unknown);
  const unique = [...new Map(ratings.map((each) => [each.item_id, each])).values()];
  const known = unique.filter((each) => !unknown.has(each.item_id));
  if (!known.length) return say(worded("This model knows none of the {items} of the link."), { bad: true });
  const items = await awaited(byId("rate"), api.titles(known.map((each) => each.item_id)), retry);
  if (!items) return;
  const titles = new Map(items.map((item) => [item.item_id, item.title]));
  replaceRatings(known.map((each) => ({ ...each, title: titles.get(each.item_id), year: null, genres: [] })), null,
    worded("Replaced your {ratings} with the link."));
  if (unknown.size) say(worded(`Skipped ${unknown.size} {${unknown.size === 1 ? "item" : "items"}} that this model does not know.`));
  // Remove the link: a reload must show the later changes, not the link again.
  history.replaceState(null, "", location.pathname + location.search);
}

function importRatings(ratings) {
  replaceRatings(ratings, null, worded("Replaced your {ratings} with the file."));
  announce(`${counted(ratings.length)} imported`);
}

function startButtons() {
  byId("start-own").addEventListener("click", startOwn);
  byId("load-example").addEventListener("click", loadExample);
  byId("copy-link").addEventListener("click", copyLink);
  byId("export-button").addEventListener("click", () => exportJson({ ...results, space: model?.space ?? null }));
  byId("reset-adjustments").addEventListener("click", () => {
    change({ adjustments: {} });
    announce("Adjustments reset");
  });
  byId("horizon").addEventListener("change", (event) => change({ horizon: event.target.value }));
  byId("dislike-weight").addEventListener("input", (event) => change({ dislikeWeight: Number(event.target.value) }));
  addEventListener("hashchange", () => {
    const ratings = model && unpacked(location.hash);
    if (ratings?.length) restoreLink(ratings);
  });
  startImport(importRatings);
  startSearch({ choose: (item) => choose(item, byId("search")), ratingOf });
  startDialog(ratingOf);
  listen(onChange);
}

function showModel(response) {
  model = response;
  setScale(model);
  setWords(model.item_noun, addedValue() === null);
  for (const { tag, reliability } of model.tags) knownTags.set(tag, reliability);
  startAdding(knownTags);
  byId("horizon").hidden = model.horizons.length < 2;
  document.body.dataset.rating = model.rating_control;
  // null: the database is unavailable now.
  for (const node of document.querySelectorAll('[data-needs="users"]')) node.hidden = model.n_users === 0;
  for (const node of document.querySelectorAll('[data-needs="tags"]')) node.hidden = !hasTags();
  byId("model-line").textContent = worded(
    `Model ${model.name} \u00b7 trained on ${model.data} \u00b7 ${model.n_items.toLocaleString("en")} {items} \u00b7 ` +
    `${model.dim} dimensions \u00b7 space ${model.space} \u00b7 tastevec ${model.version}`);
}

/** Loads the model, then the ratings: those of a link, of the last visit, or the example. */
async function begin() {
  const response = await awaited(document.querySelector("main"), api.model(), begin);
  if (!response) return;
  showModel(response);
  const previous = stored();
  const link = unpacked(location.hash);
  change(fitting(previous ?? current()));
  if (!previous && !link?.length) await loadExample();
  if (link?.length) await restoreLink(link);
  if (model.map) startMap(choose, (items) => showStarters(items.slice(0, STARTERS), choose));
  else showNoMap();
}

/** The stored state without what this model does not know: the model may have changed since the last visit. */
const fitting = (previous) => ({
  ...previous,
  ratings: previous.ratings.filter(({ rating }) => onScale(rating)),
  adjustments: Object.fromEntries(Object.entries(previous.adjustments).filter(([tag]) => knownTags.has(tag))),
  horizon: model.horizons.includes(previous.horizon) ? previous.horizon : "overall",
  dislikeWeight: model.dislike_weight === null ? null : (previous.dislikeWeight ?? model.dislike_weight),
});

showStrip(null);
startButtons();
begin();
