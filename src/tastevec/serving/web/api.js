// The service's answers: one function a question, stale questions dropped, errors in the server's own words.
import { credentials } from "./token.js";

/** What went wrong, as a sentence for people; `code` is the server's, or "offline". */
export class ApiError extends Error {
  constructor(code, message, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

const asked = new Map();

/**
 * Asks the service. A new question on the same channel drops the one still waiting there.
 * @returns {Promise<Object>} the answer; rejects with ApiError, or with an AbortError when dropped
 */
async function ask(channel, path, body) {
  asked.get(channel)?.abort();
  const control = new AbortController();
  asked.set(channel, control);
  const given = { signal: control.signal, headers: { Accept: "application/json", ...credentials() } };
  if (body !== undefined) {
    given.method = "POST";
    given.headers["Content-Type"] = "application/json";
    given.body = JSON.stringify(body);
  }
  try {
    // Relative to the page, so that the service works below a path of a proxy too.
    const answer = await fetch(new URL(path, document.baseURI), given);
    const told = await answer.json().catch(() => null);
    if (answer.ok && told !== null) return told;
    const { code, message } = told?.error ?? {};
    const sentence = message ?? `The service answered ${answer.status} without a reason.`;
    throw new ApiError(code ?? "failed", sentence, answer.status);
  } catch (error) {
    if (error instanceof ApiError || dropped(error)) throw error;
    throw new ApiError("offline", "The service cannot be reached. What you see is the last answer.", 0);
  } finally {
    if (asked.get(channel) === control) asked.delete(channel);
  }
}

/** Whether an error only says that a newer question took its place. */
export const dropped = (error) => error?.name === "AbortError";

/** Drops whatever is still being asked for these channels. */
export function drop(...channels) {
  for (const channel of channels) asked.get(channel)?.abort();
}

export const model = () => ask("model", "v1/model");
export const map = () => ask("map", "v1/map");
export const example = () => ask("example", "v1/example");
export const items = (query, limit) =>
  ask("items", `v1/items?${new URLSearchParams({ query, limit })}`).then((answer) => answer.items);

const first = (answer) => answer.people[0];
export const encode = (person, horizon, channel = "vector") =>
  ask(channel, "v1/encode", { people: [person], horizon }).then(first);
export const steer = (person, tags, horizon) =>
  ask("vector", "v1/steer", { people: [person], tags, horizon, k: 1 }).then(first);
export const explain = (person, tags) =>
  ask("explain", "v1/explain", { people: [person], tags, films: 3, horizon: "overall" }).then(first);
export const similarUsers = (person, k) => ask("people", "v1/similar-users", { people: [person], k }).then(first);
export const recommend = (channel, person, asking) =>
  ask(channel, "v1/recommend", { people: [person], ...asking }).then(first);
export const explainItems = (ids, tags, channel = "film") =>
  ask(channel, "v1/explain", { item_ids: ids, tags }).then((answer) => answer.items);
export const similarItems = (id, k) =>
  ask("similar", "v1/similar-items", { item_ids: [id], k }).then((answer) => answer.items[0].similar);
