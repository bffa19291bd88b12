// The access token: entered once, stored until this tab is closed, and sent only to the service.
import { byId } from "./dom.js";

const KEY = "tastevec.token";
const waiting = new Set(); // requests to repeat with the token

let token = stored();

function stored() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null; // Storage is blocked: the token then lives as long as the page.
  }
}

function store(next) {
  token = next;
  try {
    if (next === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, next);
  } catch {
    // As above.
  }
}

/** The headers with the token; headers are bytes, so that non-Latin letters are sent as UTF-8 bytes. */
export const credentials = () =>
  (token === null ? {} : { Authorization: `Bearer ${String.fromCharCode(...new TextEncoder().encode(token))}` });

/** Shows the token field, again after an invalid token; `retry` runs with the next token. */
export function requestToken(retry) {
  waiting.add(retry);
  if (token === null && !byId("login").hidden) return; // another request has shown it
  byId("login-error").textContent = token === null ? "" : "Invalid token. Try again.";
  store(null);
  byId("login").hidden = false;
  document.body.dataset.locked = "";
  byId("login-token").focus();
  byId("login-token").select();
}

/** Hides the token field after the first response, and moves the focus to the headline. */
export function unlock() {
  if (byId("login").hidden) return;
  byId("login").hidden = true;
  byId("login-token").value = "";
  delete document.body.dataset.locked;
  byId("headline").focus({ preventScroll: true });
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const next = byId("login-token").value.trim();
  if (!next) return byId("login-token").focus();
  store(next);
  const runs = [...waiting];
  waiting.clear();
  for (const run of runs) run();
});
