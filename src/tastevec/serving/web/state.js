// The state of this page: ratings, adjustments, the horizon and the weight of dislikes, stored in this browser.

const KEY = "tastevec.user";
const EMPTY = { ratings: [], adjustments: {}, horizon: "overall", dislikeWeight: null, example: null };

const listeners = [];
let state = EMPTY;

/** The current state; never edited in place. `ratings` are oldest first, as the encoder expects. */
export const current = () => state;

/** Calls `run(changed)` after each change; `changed` is the set of names that changed. */
export const listen = (run) => listeners.push(run);

/** Replaces the named parts, stores them in this browser and calls the listeners. */
export function change(parts) {
  state = { ...state, ...parts };
  try {
    localStorage.setItem(KEY, JSON.stringify(state));
  } catch {
    // Storage is full or blocked: the page works without it.
  }
  const changed = new Set(Object.keys(parts));
  for (const run of listeners) run(changed);
}

/** The state of the last visit, or null at the first one or when it is unreadable. */
export function stored() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY));
    if (!Array.isArray(found?.ratings) || !found.ratings.every(isRating)) return null;
    const { ratings, horizon, example } = found;
    const adjustments = adjustmentsIn(found);
    const dislikeWeight = isWeight(found.dislikeWeight) ? found.dislikeWeight : null;
    const known = horizon === "next" ? "next" : "overall";
    return { ...EMPTY, ratings, horizon: known, dislikeWeight, example, adjustments };
  } catch {
    return null;
  }
}

/** Whether a value from outside is a rating that this page can show and send. */
export function isRating(value) {
  const known = ["number", "string"].includes(typeof value?.item_id);
  return known && typeof value.title === "string" && Number.isFinite(value.rating);
}

const isWeight = (value) => typeof value === "number" && value >= 0 && value <= 1;

function adjustmentsIn(found) {
  const pairs = Object.entries(found.adjustments ?? {});
  return Object.fromEntries(pairs.filter(([, amount]) => Number.isFinite(amount) && amount !== 0));
}

/** Sets the rating of an item: a rated item keeps its position in the history, a new one is the newest. */
export function rate(item, rating) {
  const { item_id, title, year = null, genres = [] } = item;
  const { ratings, example } = state;
  const at = ratings.findIndex((each) => each.item_id === item_id);
  const next = at < 0
    ? [...ratings, { item_id, title, year, genres, rating }]
    : ratings.with(at, { ...ratings[at], rating });
  change({ ratings: next, example: example && { ...example, changed: true } });
}

/** Removes the rating of an item. */
export function unrate(itemId) {
  const { ratings, example } = state;
  change({
    ratings: ratings.filter((each) => each.item_id !== itemId),
    example: example && { ...example, changed: true },
  });
}

/** Sets the amount of a tag in standard deviations; 0 removes the adjustment. */
export function adjust(tag, amount) {
  const { [tag]: _, ...others } = state.adjustments;
  change({ adjustments: amount === 0 ? others : { ...others, [tag]: amount } });
}

/** Ratings for a request. */
export const asUser = (ratings = state.ratings) =>
  ({ interactions: ratings.map(({ item_id, rating }) => ({ item_id, value: rating })) });
