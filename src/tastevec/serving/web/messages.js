// Notifications: what failed or was done, with at most one action.
import { isAbort } from "./api.js";
import { byId, el } from "./dom.js";
import { requestToken, unlock } from "./token.js";

const LASTS = 9000;
const UNAUTHORIZED = 401;

/**
 * Shows a notification; only the latest for each `about`.
 * @param {string} text
 * @param {{about?: string, bad?: boolean, action?: {label: string, run: function}}} [options] a bad one stays until closed
 */
export function say(text, { about = text, bad = false, action = null } = {}) {
  clear(about);
  const note = el("div", { class: bad ? "message bad" : "message", role: bad ? "alert" : "status", dataset: { about } });
  const close = () => note.remove();
  note.append(el("p", { text }));
  if (action) {
    const run = () => {
      close();
      action.run();
    };
    note.append(el("button", { class: "solid", type: "button", text: action.label, on: { click: run } }));
  }
  const shut = { class: "close", type: "button", "aria-label": "Close", on: { click: close } };
  note.append(el("button", shut, "\u00d7"));
  byId("messages").append(note);
  if (!bad) setTimeout(close, LASTS);
}

/** Removes the notification about this. */
export function clear(about) {
  for (const note of byId("messages").children) if (note.dataset.about === about) note.remove();
}

/**
 * Waits for the response for a section. Its old content stays; an error shows a notification with a retry button, and a
 * missing token shows the token field.
 * @returns {Promise<*|null>} the response; null when it failed or a newer request replaced it
 */
export async function awaited(section, request, retry) {
  section.setAttribute("aria-busy", "true");
  try {
    const response = await request;
    section.removeAttribute("aria-busy");
    unlock();
    // One notification covers an unreachable service for all sections; any response removes it.
    clear("offline");
    clear(section.id);
    return response;
  } catch (error) {
    if (isAbort(error)) return null;
    section.removeAttribute("aria-busy");
    if (error.status === UNAUTHORIZED) {
      requestToken(retry);
      return null;
    }
    const about = error.code === "offline" ? "offline" : section.id;
    say(error.message, { about, bad: true, action: { label: "Try again", run: retry } });
    return null;
  }
}
