// The taste profile: one row per tag, with its strength, its reliability, its contributions and a slider to adjust it.
import { byId, el, reconcile, setVar, signed } from "./dom.js";
import { titled, worded } from "./items.js";
import { adjust } from "./state.js";

const REACH = 4; // standard deviations to either side: each moves one or two items into the first twelve
const STEP = 0.25;
const RELIABLE = 0.75; // from this reliability on a bar is solid; 0.5 below it is fully hatched

const reliabilityWord = (reliability) =>
  (reliability >= RELIABLE ? "reliable" : reliability >= 0.45 ? "fairly reliable" : "weak");

/** The rows: the strongest tags, then adjusted tags that are not among them. */
function rowsOf(tags, adjustments, known) {
  const shown = new Set(tags.map(({ tag }) => tag));
  const others = Object.keys(adjustments).filter((tag) => !shown.has(tag));
  const row = (tag) => ({ tag, reliability: known.get(tag) ?? null, strength: null, contributions: [] });
  return [...tags, ...others.map(row)];
}

/**
 * Shows the profile.
 * @param {Array} tags from the service, strongest first
 * @param {Object} adjustments amount of each adjusted tag
 * @param {Map} known reliability of every tag of the model
 */
export function showTags(tags, adjustments, known) {
  const rows = rowsOf(tags, adjustments, known);
  const most = Math.max(2, ...tags.map(({ strength }) => Math.abs(strength)));
  byId("tags-empty").hidden = rows.length > 0;
  byId("reset-adjustments").hidden = Object.keys(adjustments).length === 0;
  reconcile(byId("tag-list"), rows, {
    key: (row) => row.tag,
    make,
    fill: (node, row) => fill(node, row, adjustments[row.tag] ?? 0, most),
  });
}

function make({ tag }) {
  const id = `contributions-${tag.replace(/[^\p{L}\p{N}]+/gu, "-")}`;
  const name = el("button", { class: "tag-name", type: "button", "aria-expanded": "false", "aria-controls": id },
    el("span", { text: tag }));
  const contributions = el("div", { class: "contributions", id, hidden: true });
  name.addEventListener("click", () => {
    contributions.hidden = !contributions.hidden;
    name.setAttribute("aria-expanded", String(!contributions.hidden));
  });
  return el("li", { class: "tag", dataset: { tag } },
    el("div", { class: "tag-head" }, name, el("span", { class: "tag-value" })),
    el("div", { class: "bar", role: "img" }, el("i")),
    slider(tag), contributions);
}

function slider(tag) {
  const input = el("input", {
    type: "range", min: -REACH, max: REACH, step: STEP, "aria-label": `Adjust ${tag}, from less to more`,
    dataset: { tagSlider: tag }, on: { input: () => adjust(tag, Number(input.value)) },
  });
  const reset = el("button", {
    class: "close", type: "button", "aria-label": `Reset ${tag}`, title: "Reset",
    on: {
      click: () => {
        input.focus();
        adjust(tag, 0);
      },
    },
  }, "\u00d7");
  return el("div", { class: "adjust" }, el("span", { text: "less", "aria-hidden": "true" }), input,
    el("span", { class: "amount" }, el("output", { class: "adjustment" }), reset));
}

function fill(node, { strength, reliability, contributions }, amount, most) {
  const bar = node.querySelector(".bar");
  const measured = strength !== null;
  node.dataset.side = !measured || Math.abs(strength) < 0.05 ? "none" : strength > 0 ? "more" : "less";
  setVar(bar, "--reach", measured ? Math.abs(strength) / most : 0);
  setVar(bar, "--doubt", Math.min(1, Math.max(0, (RELIABLE - (reliability ?? 0)) / 0.5)));
  bar.setAttribute("aria-label", measured ? description(strength, reliability) : "Not among your strongest tags");
  node.querySelector(".tag-value").replaceChildren(...(measured
    ? [el("b", { text: signed(strength) }), ` ${reliabilityWord(reliability)}`]
    : ["adjusted by you"]));
  showAdjustment(node.querySelector(".adjust"), amount);
  showContributions(node, contributions);
}

const description = (strength, reliability) =>
  `${Math.abs(strength).toFixed(1)} standard deviations ${strength < 0 ? "below" : "above"} the average user, ` +
  `reliability ${reliability.toFixed(2)}`;

function showAdjustment(node, amount) {
  const input = node.querySelector("input");
  if (Number(input.value) !== amount) input.value = amount;
  setVar(input, "--from", Math.min(0, amount) / (2 * REACH) + 0.5);
  setVar(input, "--to", Math.max(0, amount) / (2 * REACH) + 0.5);
  input.setAttribute("aria-valuetext", amount === 0 ? "not adjusted" : `${signed(amount, 2)} standard deviations`);
  node.dataset.on = String(amount !== 0);
  node.querySelector("output").textContent = amount === 0 ? "more" : signed(amount, 2);
  node.querySelector("button").hidden = amount === 0;
}

function showContributions(node, contributions) {
  const line = (item) => el("li", {}, titled(item), el("span", { class: "effect", text: signed(item.effect, 2) }));
  node.querySelector(".contributions").replaceChildren(...(contributions.length
    ? [el("p", { text: "Contributions:" }), el("ul", {}, ...contributions.map(line))]
    : [el("p", { text: worded("None of your {ratings} contributes to this tag.") })]));
}

let known = new Map();

/** Whether the model has tags, to describe users and items in. */
export const hasTags = () => known.size > 0;

/** Starts the box that adds any other tag of the model to adjust. */
export function startAdding(tags) {
  known = tags;
  const form = byId("add-tag");
  const box = byId("add-tag-name");
  form.hidden = known.size === 0;
  byId("all-tags").replaceChildren(...[...known.keys()].map((tag) => el("option", { value: tag })));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = box.value.trim().toLowerCase();
    const tag = [...known.keys()].find((name) => name.toLowerCase() === typed);
    box.setCustomValidity(tag ? "" : "Unknown tag. Choose one from the list.");
    if (!tag) return form.reportValidity();
    box.value = "";
    adjust(tag, 1);
    document.querySelector(`[data-tag-slider="${CSS.escape(tag)}"]`)?.focus();
  });
  box.addEventListener("input", () => box.setCustomValidity(""));
}
