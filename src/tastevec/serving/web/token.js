// The token of a guarded service: asked for in one field, kept until this tab is closed, and told to the service alone.
import { byId } from "./dom.js";

const KEY = "tastevec.token";
const waiting = new Set(); // what could not be asked without it

let token = kept();

function kept() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null; // Storage is closed: the token then lives as long as the page.
  }
}

function keep(next) {
  token = next;
  try {
    if (next === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, next);
  } catch {
    // As above.
  }
}

/** The headers that carry it; headers are bytes, so that a letter of another script goes as its bytes in UTF-8. */
export const credentials = () =>
  (token === null ? {} : { Authorization: `Bearer ${String.fromCharCode(...new TextEncoder().encode(token))}` });

/** Asks the person for the token, again where the one she gave was refused; `retry` runs once there is another. */
export function askForToken(retry) {
  waiting.add(retry);
  if (token === null && !byId("door").hidden) return; // another question was refused as well
  byId("door-wrong").textContent = token === null ? "" : "That is not the token of this service. Try again.";
  keep(null);
  byId("door").hidden = false;
  document.body.dataset.locked = "";
  byId("door-token").focus();
  byId("door-token").select();
}

/** The service has answered: the field goes, and the keyboard to what comes first. */
export function letIn() {
  if (byId("door").hidden) return;
  byId("door").hidden = true;
  byId("door-token").value = "";
  delete document.body.dataset.locked;
  byId("headline").focus({ preventScroll: true });
}

byId("door").addEventListener("submit", (event) => {
  event.preventDefault();
  const next = byId("door-token").value.trim();
  if (!next) return byId("door-token").focus();
  keep(next);
  const runs = [...waiting];
  waiting.clear();
  for (const run of runs) run();
});
