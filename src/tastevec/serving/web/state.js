// What this page remembers: ratings, steering and the horizon, kept in this browser and told to whoever listens.

const KEY = "tastevec.person";
const NOTHING = { ratings: [], doses: {}, horizon: "next", example: null };

const listeners = [];
let state = NOTHING;

/** The state now; never edited in place. `ratings` are oldest first, as the encoder reads them. */
export const now = () => state;

/** Calls `run(changed)` after each change; `changed` is the set of names that changed. */
export const listen = (run) => listeners.push(run);

/** Replaces the named parts, keeps them in this browser and tells the listeners. */
export function change(parts) {
  state = { ...state, ...parts };
  try {
    localStorage.setItem(KEY, JSON.stringify(state));
  } catch {
    // Storage is full or closed: the page works on, without a memory.
  }
  const changed = new Set(Object.keys(parts));
  for (const run of listeners) run(changed);
}

/** What was kept at the last visit, or null at the first one. Anything unreadable counts as nothing. */
export function remembered() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    if (!Array.isArray(kept?.ratings) || !kept.ratings.every(isRating)) return null;
    const { ratings, horizon, example } = kept;
    return { ...NOTHING, ratings, horizon: horizon === "overall" ? "overall" : "next", example, doses: dosesOf(kept) };
  } catch {
    return null;
  }
}

/** Whether a thing read from outside is a rating that this page can show and send. */
export function isRating(thing) {
  const known = ["number", "string"].includes(typeof thing?.item_id);
  return known && typeof thing.title === "string" && Number.isFinite(thing.rating);
}

function dosesOf(kept) {
  const pairs = Object.entries(kept.doses ?? {}).filter(([, dose]) => Number.isFinite(dose) && dose !== 0);
  return Object.fromEntries(pairs);
}

/** Sets one film's rating: a film already rated keeps its place in time, a new one is the newest. */
export function rate(film, rating) {
  const { item_id, title, year = null, genres = [] } = film;
  const { ratings, example } = state;
  const at = ratings.findIndex((each) => each.item_id === item_id);
  const next = at < 0
    ? [...ratings, { item_id, title, year, genres, rating }]
    : ratings.with(at, { ...ratings[at], rating });
  change({ ratings: next, example: example && { ...example, changed: true } });
}

/** Forgets one film's rating. */
export function unrate(itemId) {
  const { ratings, example } = state;
  change({
    ratings: ratings.filter((each) => each.item_id !== itemId),
    example: example && { ...example, changed: true },
  });
}

/** Sets how far to steer by a tag, in standard deviations; 0 forgets it. */
export function dose(tag, amount) {
  const { [tag]: _, ...others } = state.doses;
  change({ doses: amount === 0 ? others : { ...others, [tag]: amount } });
}

/** The ratings as the service takes them. */
export const asPerson = () => ({ ratings: state.ratings.map(({ item_id, rating }) => ({ item_id, rating })) });
