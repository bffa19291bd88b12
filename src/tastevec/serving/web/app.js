// The page's one flow: a change of ratings, steering or horizon asks the service again and shows what it answers.
import * as api from "./api.js";
import { announce, byId, debounced } from "./dom.js";
import { showHeadline, showWhose } from "./headline.js";
import { showAbsent, showPlace, startMap } from "./map.js";
import { awaited, say } from "./messages.js";
import { showPeople } from "./people.js";
import { showRated, showStarters } from "./rated.js";
import { showRecommendations } from "./recommendations.js";
import { startSearch } from "./search.js";
import { copyLink, exportJson, startImport, unpacked } from "./share.js";
import { onScale, setScale } from "./stars.js";
import { asPerson, change, listen, now, remembered } from "./state.js";
import { showStrip } from "./strip.js";
import { showTags, startAdding } from "./tags.js";
import { openTicket, startTicket } from "./ticket.js";

const SHOWN = 12;
const TAGS = 10;
const PEOPLE = 4;
const STARTERS = 8;

let model = null;
const knownTags = new Map();
const answers = { tags: [], vector: null, unknown: new Set() };

const ratingOf = (id) => now().ratings.find((each) => each.item_id === id)?.rating ?? null;
const choose = (film, from) => openTicket(film, from, ratingOf(film.item_id));
const steered = () => Object.keys(now().doses).length > 0;

async function refreshWords() {
  if (!now().ratings.length) return showWords({ tags: [], place: null, unknown: [] });
  const told = await awaited(byId("words"), api.explain(asPerson(), TAGS), refresh);
  if (told) showWords(told);
}

function showWords({ tags, place, unknown }) {
  answers.tags = tags;
  answers.unknown = new Set(unknown);
  showHeadline(tags, Boolean(now().example));
  showTags(tags, now().doses, knownTags);
  showRated(now().ratings, answers.unknown);
  showPlace(place, now().ratings);
}

async function refreshWatch() {
  const { ratings, doses, horizon } = now();
  if (!ratings.length) {
    showRecommendations([], { plain: null, choose });
    byId("watch-note").textContent = "";
    return;
  }
  const asking = { k: SHOWN, horizon };
  const plain = steered() ? api.recommend("plain", asPerson(), asking) : null;
  const list = api.recommend("watch", asPerson(), { ...asking, why: 2, ...(plain && { tags: doses }) });
  const told = await awaited(byId("watch"), Promise.all([list, plain]), refresh);
  if (told) showRecommendations(told[0].items, { plain: told[1]?.items ?? null, choose });
}

async function refreshVector() {
  const { ratings, doses, horizon } = now();
  if (!ratings.length) return showVector(null);
  const asking = steered() ? api.steer(asPerson(), doses, horizon) : api.encode(asPerson(), horizon);
  const told = await awaited(byId("strip"), asking, refresh);
  if (told) showVector(told.vector);
}

function showVector(vector) {
  answers.vector = vector;
  if (!vector) return showStrip(null);
  const { ratings, horizon } = now();
  const asked = horizon === "next" ? "next film" : "taste overall";
  const films = ratings.length === 1 ? "1 film" : `${ratings.length} films`;
  const [least, most] = [Math.min(...vector), Math.max(...vector)].map((number) => number.toFixed(2));
  const print = [`${vector.length} numbers`, films, asked, ...(steered() ? ["steered"] : []), `space ${model.space}`];
  showStrip(vector, {
    print: print.join("  \u25b8  "),
    told: `The taste vector: ${vector.length} numbers from ${least} to ${most}, from ${films}, for ${asked}`,
  });
}

async function refreshPeople() {
  if (model.people === 0) return;
  if (!now().ratings.length) return showPeople([], choose);
  const told = await awaited(byId("people"), api.similarUsers(asPerson(), PEOPLE).catch(nobody), refresh);
  if (told) showPeople(told.users, choose, told.empty);
}

/** Nobody to be shown is no fault of the page's: it is said in the people's own place. */
function nobody(error) {
  const empty = {
    no_people: "Nobody is kept here yet.",
    store_unavailable: "The people who are kept here cannot be reached just now.",
  }[error.code];
  if (!empty) throw error;
  return { users: [], empty };
}

/** With nothing rated there is nothing to wait for. */
function stopWaiting() {
  api.drop("explain", "watch", "plain", "vector", "people");
  for (const id of ["words", "watch", "strip", "people"]) byId(id).removeAttribute("aria-busy");
}

function refresh() {
  if (!model) return begin();
  if (!now().ratings.length) stopWaiting();
  return Promise.all([refreshWords(), refreshWatch(), refreshVector(), refreshPeople()]).then(() => {
    delete document.querySelector(".desk").dataset.waiting;
  });
}

const refreshSoon = debounced(refresh, 260);
const resteerSoon = debounced(() => Promise.all([refreshWatch(), refreshVector()]), 160);

/** What can be shown without the service is shown at once; the rest follows when the changes have settled. */
function onChange(changed) {
  if (changed.has("ratings") || changed.has("example")) {
    showRated(now().ratings, answers.unknown);
    showWhose(now().example);
  }
  if (changed.has("doses")) showTags(answers.tags, now().doses, knownTags);
  if (changed.has("horizon")) byId("horizon").elements[now().horizon === "next" ? 0 : 1].checked = true;
  if (changed.has("ratings")) refreshSoon();
  else if (changed.has("doses") || changed.has("horizon")) resteerSoon();
}

/** Puts other ratings in place of these, with a way back when there was something to lose. */
function replaceRatings(ratings, example, sentence) {
  const { ratings: before, example: was, doses } = now();
  change({ ratings, example, doses: {} });
  if (before.length && (!was || was.changed)) {
    say(sentence, {
      about: "replaced",
      action: { label: "Bring them back", run: () => change({ ratings: before, example: was, doses }) },
    });
  }
}

async function loadExample() {
  const told = await awaited(byId("rate"), api.example(), loadExample);
  if (!told) return;
  replaceRatings(told.ratings, { name: told.name }, "The example took the place of your ratings.");
  announce(`Example person loaded: ${told.name}`);
}

function startOwn() {
  replaceRatings([], null, "The ratings were cleared.");
  byId("search").focus();
}

/** Ratings from a link: those that the catalogue holds, with the titles that it gives them. */
async function restoreLink(found) {
  const retry = () => restoreLink(found);
  const told = await awaited(byId("rate"), api.encode({ ratings: found }, "overall", "link"), retry);
  if (!told) return;
  const unknown = new Set(told.unknown);
  const kept = [...new Map(found.map((each) => [each.item_id, each])).values()].filter((each) => !unknown.has(each.item_id));
  if (!kept.length) return say("None of the link's films is in this catalogue.", { bad: true });
  const films = await awaited(byId("rate"), api.explainItems(kept.map((each) => each.item_id), 1, "titles"), retry);
  if (!films) return;
  const titles = new Map(films.map((film) => [film.item_id, film.title]));
  replaceRatings(kept.map((each) => ({ ...each, title: titles.get(each.item_id), year: null, genres: [] })), null,
    "The link's ratings took the place of yours.");
  if (unknown.size) say(`${unknown.size} of the link's films are not in this catalogue and were left out.`);
  // The link is used up: a reload must show what the person did since, not the link again.
  history.replaceState(null, "", location.pathname + location.search);
}

function importRatings(ratings) {
  replaceRatings(ratings, null, "The file's ratings took the place of yours.");
  announce(`${ratings.length} ratings opened`);
}

function startButtons() {
  byId("start-own").addEventListener("click", startOwn);
  byId("load-example").addEventListener("click", loadExample);
  byId("copy-link").addEventListener("click", copyLink);
  byId("export-button").addEventListener("click", () => exportJson({ ...answers, space: model?.space ?? null }));
  byId("reset-steering").addEventListener("click", () => {
    change({ doses: {} });
    announce("Steering reset");
  });
  byId("horizon").addEventListener("change", (event) => change({ horizon: event.target.value }));
  addEventListener("hashchange", () => {
    const found = model && unpacked(location.hash);
    if (found?.length) restoreLink(found);
  });
  startImport(importRatings);
  startSearch({ choose: (film) => choose(film, byId("search")), ratingOf });
  startTicket(ratingOf);
  listen(onChange);
}

function meet(told) {
  model = told;
  setScale(model.rating_range, model.rating_step);
  for (const { tag, confidence } of model.tags) knownTags.set(tag, confidence);
  startAdding(knownTags);
  byId("horizon").hidden = model.horizons.length < 2;
  // Null says that their database is away just now.
  for (const node of document.querySelectorAll('[data-needs="people"]')) node.hidden = model.people === 0;
  byId("model-line").textContent =
    `Model ${model.name}, trained on ${model.data}: ${model.films.toLocaleString("en")} films, ` +
    `${model.dim} numbers a person, space ${model.space}, tastevec ${model.version}.`;
}

/** Begins: who the model is, then whose taste to show: a link's, the one kept here, or the example. */
async function begin() {
  const told = await awaited(document.querySelector("main"), api.model(), begin);
  if (!told) return;
  meet(told);
  const kept = remembered();
  const found = unpacked(location.hash);
  change(fitting(kept ?? now()));
  if (!kept && !found?.length) await loadExample();
  if (found?.length) await restoreLink(found);
  if (model.map) startMap(choose, (films) => showStarters(films.slice(0, STARTERS), choose));
  else showAbsent();
}

/** What was kept, less what this model does not know: another model may answer at this address than at the last visit. */
const fitting = (kept) => ({
  ...kept,
  ratings: kept.ratings.filter(({ rating }) => onScale(rating)),
  doses: Object.fromEntries(Object.entries(kept.doses).filter(([tag]) => knownTags.has(tag))),
  horizon: model.horizons.includes(kept.horizon) ? kept.horizon : model.horizons[0],
});

showStrip(null);
startButtons();
begin();
