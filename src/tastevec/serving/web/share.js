// Export and import of ratings: a JSON file, or a link with the ratings after its #.
import { byId, el } from "./dom.js";
import { counted, worded } from "./items.js";
import { say } from "./messages.js";
import { onScale } from "./rating.js";
import { current, isRating } from "./state.js";

const FORMAT = "tastevec.user";
const MOST = 500; // ratings in a link or a file: a longer link cannot be shared

/** The ratings as a short text for a link: id*rating, joined by commas, oldest first. */
export const packed = (ratings) =>
  ratings.map(({ item_id, rating }) => `${encodeURIComponent(item_id)}*${rating}`).join(",");

/** The ratings in the # of a link, oldest first, without titles; null without ratings. */
export function unpacked(hash) {
  const text = new URLSearchParams(hash.replace(/^#/, "")).get("r");
  if (!text) return null;
  const pairs = text.split(",").slice(0, MOST).map((pair) => pair.split("*"));
  const ratings = pairs.map(([id, rating]) => ({ item_id: identifier(id), rating: Number(rating) }));
  return ratings.filter(({ item_id, rating }) => item_id !== null && Number.isFinite(rating) && onScale(rating));
}

/** Item IDs are integers or strings. */
function identifier(text) {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  try {
    return decodeURIComponent(text) || null;
  } catch {
    return null;
  }
}

/** Copies a link with the ratings. */
export async function copyLink() {
  const { ratings } = current();
  if (!ratings.length) return say(worded("Add {ratings} first: the link contains your {ratings}."));
  const link = new URL(`#r=${packed(ratings)}`, location.href).href;
  try {
    await navigator.clipboard.writeText(link);
    say(`Copied a link with ${counted(ratings.length)}. Anyone with the link can see them.`);
  } catch {
    // The clipboard needs a secure context (HTTPS or localhost).
    history.replaceState(null, "", link);
    say("Copy the link from the address bar.");
  }
}

/**
 * Exports ratings, vector and tags as a file.
 * @param {{space: string, vector: number[]|null, tags: Array}} results the latest from the service
 */
export function exportJson({ space, vector, tags }) {
  const { ratings, adjustments, horizon, dislikeWeight } = current();
  if (!ratings.length) return say(worded("Add {ratings} first: there is nothing to export."));
  const how = { horizon, ...(dislikeWeight !== null && { dislike_weight: dislikeWeight }) };
  const content = { format: FORMAT, version: 1, space, ...how, ratings, adjustments, vector, tags };
  const address = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }));
  el("a", { href: address, download: "tastevec-user.json" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

/** Starts the import button; `take(ratings)` gets the ratings of the file, oldest first. */
export function startImport(take) {
  const file = byId("import-file");
  byId("import-button").addEventListener("click", () => file.click());
  file.addEventListener("change", async () => {
    const chosen = file.files[0];
    file.value = "";
    if (!chosen) return;
    const ratings = await read(chosen);
    if (ratings) take(ratings);
  });
}

async function read(file) {
  try {
    const content = JSON.parse(await file.text());
    const valid = (content.ratings ?? []).filter((each) => isRating(each) && onScale(each.rating)).slice(0, MOST);
    if (valid.length) return [...new Map(valid.map((each) => [each.item_id, each])).values()];
    say(`${file.name} ${worded("contains no {ratings}")}. Import a file exported from this page.`, { bad: true });
  } catch {
    say(`${file.name} is not JSON. Import a file exported from this page.`, { bad: true });
  }
  return null;
}
