// Taking a taste away and bringing it back: a JSON file, or a link that carries the ratings after its #.
import { byId, el } from "./dom.js";
import { say } from "./messages.js";
import { isRating, now } from "./state.js";
import { onScale } from "./stars.js";

const FORMAT = "tastevec.person";
const MOST = 500; // films in a link or a file: more is no link to send, and no history to read at once

/** The ratings as a short text for a link: id*rating, joined by commas, oldest first. */
export const packed = (ratings) =>
  ratings.map(({ item_id, rating }) => `${encodeURIComponent(item_id)}*${rating}`).join(",");

/** The ratings in a link's #, oldest first, without titles; null where there are none. */
export function unpacked(hash) {
  const text = new URLSearchParams(hash.replace(/^#/, "")).get("r");
  if (!text) return null;
  const pairs = text.split(",").slice(0, MOST).map((pair) => pair.split("*"));
  const read = pairs.map(([id, rating]) => ({ item_id: identifier(id), rating: Number(rating) }));
  return read.filter(({ item_id, rating }) => item_id !== null && Number.isFinite(rating) && onScale(rating));
}

/** Ids are the catalogue's own: whole numbers or words. */
function identifier(text) {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  try {
    return decodeURIComponent(text) || null;
  } catch {
    return null;
  }
}

/** Copies a link to this taste. */
export async function copyLink() {
  const { ratings } = now();
  if (!ratings.length) return say("Rate a film first: the link carries the ratings.");
  const link = new URL(`#r=${packed(ratings)}`, location.href).href;
  try {
    await navigator.clipboard.writeText(link);
    say(`A link with ${ratings.length} ratings is copied. Whoever opens it sees this taste.`);
  } catch {
    // Clipboards need a secure page; the address bar is then the way to take it.
    history.replaceState(null, "", link);
    say("The link is now in the address bar: copy it from there.");
  }
}

/**
 * Saves ratings, vector and tags as a file.
 * @param {{space: string, vector: number[]|null, tags: Array}} answers the service's latest
 */
export function exportJson({ space, vector, tags }) {
  const { ratings, doses, horizon } = now();
  if (!ratings.length) return say("Rate a film first: there is nothing to save.");
  const told = { format: FORMAT, version: 1, space, horizon, ratings, steering: doses, vector, tags };
  const address = URL.createObjectURL(new Blob([JSON.stringify(told, null, 1)], { type: "application/json" }));
  el("a", { href: address, download: "tastevec-person.json" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

/** Starts the button that opens such a file; `take(ratings)` gets what was in it, oldest first. */
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
    const told = JSON.parse(await file.text());
    const good = (told.ratings ?? []).filter((each) => isRating(each) && onScale(each.rating)).slice(0, MOST);
    if (good.length) return [...new Map(good.map((each) => [each.item_id, each])).values()];
    say(`${file.name} holds no ratings that can be read. Open a file that was saved here.`, { bad: true });
  } catch {
    say(`${file.name} is not JSON. Open a file that was saved here.`, { bad: true });
  }
  return null;
}
