// Requests to the service: one function per endpoint; a newer request on a channel aborts the older one.
import { credentials } from "./token.js";

/** A failed request; `code` is the service's error code, or "offline". */
export class ApiError extends Error {
  constructor(code, message, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

const running = new Map();

/**
 * Sends a request, and aborts the one that still runs on the same channel.
 * @returns {Promise<Object>} the response; rejects with ApiError, or with an AbortError when aborted
 */
async function send(channel, path, body) {
  running.get(channel)?.abort();
  const control = new AbortController();
  running.set(channel, control);
  const options = { signal: control.signal, headers: { Accept: "application/json", ...credentials() } };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  try {
    // Relative to the page, so that the service also works below a path of a proxy.
    const response = await fetch(new URL(path, document.baseURI), options);
    const content = await response.json().catch(() => null);
    if (response.ok && content !== null) return content;
    const { code, message } = content?.error ?? {};
    throw new ApiError(code ?? "failed", message ?? `The service returned error ${response.status}.`, response.status);
  } catch (error) {
    if (error instanceof ApiError || isAbort(error)) throw error;
    throw new ApiError("offline", "Cannot reach the service. Showing the last result.", 0);
  } finally {
    if (running.get(channel) === control) running.delete(channel);
  }
}

/** Whether an error means only that a newer request replaced this one. */
export const isAbort = (error) => error?.name === "AbortError";

/** Aborts the requests on these channels. */
export function abort(...channels) {
  for (const channel of channels) running.get(channel)?.abort();
}

export const model = () => send("model", "v1/model");
export const map = () => send("map", "v1/map");
export const example = () => send("example", "v1/example");
export const items = (query, limit) =>
  send("items", `v1/items?${new URLSearchParams({ query, limit })}`).then((response) => response.items);

const first = (response) => response.users[0];
// The page shows which items are unknown: the model may have changed since they were rated.
const of = (user) => ({ users: [user], unknown: "ignore" });
// `how` is the horizon and the weight of dislikes, where they are not the defaults of the service.
export const encode = (user, how, channel = "vector") => send(channel, "v1/encode", { ...of(user), ...how }).then(first);
export const steer = (user, tags, how) => send("vector", "v1/steer", { ...of(user), tags, ...how, k: 1 }).then(first);
export const explain = (user, tags, how) =>
  send("explain", "v1/explain", { ...of(user), tags, contributions: 3, ...how }).then(first);
export const similarUsers = (user, k, how) => send("users", "v1/similar-users", { ...of(user), k, ...how }).then(first);
export const recommend = (channel, user, options) =>
  send(channel, "v1/recommend", { ...of(user), ...options }).then(first);
export const explainItems = (ids, tags) =>
  send("item", "v1/explain", { item_ids: ids, tags }).then((response) => response.items);
export const titles = (ids) => send("titles", "v1/similar-items", { item_ids: ids, k: 1 }).then((response) => response.items);
export const similarItems = (id, k) =>
  send("similar", "v1/similar-items", { item_ids: [id], k }).then((response) => response.items[0].similar);
