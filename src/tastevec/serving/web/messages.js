// Small messages that block nothing: what failed or was done, with at most one thing to press.
import { dropped } from "./api.js";
import { byId, el } from "./dom.js";
import { askForToken, letIn } from "./token.js";

const LASTS = 9000;
const NOT_ALLOWED = 401; // without a token, or with another one than the service's

/**
 * Shows a sentence, once at a time for each `about`.
 * @param {string} sentence
 * @param {{about?: string, bad?: boolean, action?: {label: string, run: function}}} [how] a bad one stays until closed
 */
export function say(sentence, { about = sentence, bad = false, action = null } = {}) {
  clear(about);
  const note = el("div", { class: bad ? "message bad" : "message", role: bad ? "alert" : "status", dataset: { about } });
  const close = () => note.remove();
  note.append(el("p", { text: sentence }));
  if (action) {
    const run = () => {
      close();
      action.run();
    };
    note.append(el("button", { class: "solid", type: "button", text: action.label, on: { click: run } }));
  }
  const shut = { class: "close", type: "button", "aria-label": "Close the message", on: { click: close } };
  note.append(el("button", shut, "\u00d7"));
  byId("messages").append(note);
  if (!bad) setTimeout(close, LASTS);
}

/** Takes away the message about this. */
export function clear(about) {
  for (const note of byId("messages").children) if (note.dataset.about === about) note.remove();
}

/**
 * Waits for an answer for a section: the old content stays, a fault is told with a way to try again, and a token is
 * asked for where the service wants one.
 * @returns {Promise<*|null>} the answer; null when it failed or a newer question took its place
 */
export async function awaited(section, asking, retry) {
  section.setAttribute("aria-busy", "true");
  try {
    const answer = await asking;
    section.removeAttribute("aria-busy");
    letIn();
    // One message covers an unreachable service, whichever section noticed; an answer ends it.
    clear("offline");
    clear(section.id);
    return answer;
  } catch (error) {
    if (dropped(error)) return null;
    section.removeAttribute("aria-busy");
    if (error.status === NOT_ALLOWED) {
      askForToken(retry);
      return null;
    }
    const about = error.code === "offline" ? "offline" : section.id;
    say(error.message, { about, bad: true, action: { label: "Try again", run: retry } });
    return null;
  }
}
