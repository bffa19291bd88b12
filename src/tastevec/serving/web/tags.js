// Taste in words: one row a tag, with how much more or less, how sure, the films that caused it, and a slider to steer.
import { byId, el, reconcile, setVar, signed } from "./dom.js";
import { titled } from "./films.js";
import { dose } from "./state.js";

const REACH = 4; // standard deviations a slider steers either way: each brings a film or two to the first twelve
const STEP = 0.25;
const SURE = 0.75; // from this confidence on a bar is solid; half a unit below it is all hatching

const sureness = (confidence) => (confidence >= SURE ? "sure" : confidence >= 0.45 ? "fairly sure" : "a guess");

/** The rows to show: the strongest readings, then the tags that are steered by without being among them. */
function rowsOf(readings, doses, known) {
  const read = new Set(readings.map((reading) => reading.tag));
  const others = Object.keys(doses).filter((tag) => !read.has(tag));
  return [...readings, ...others.map((tag) => ({ tag, confidence: known.get(tag) ?? null, strength: null, films: [] }))];
}

/**
 * Shows the tags.
 * @param {Array} readings from the service, strongest first
 * @param {Object} doses how far each tag is steered by
 * @param {Map} known confidence of every tag that the model knows
 */
export function showTags(readings, doses, known) {
  const rows = rowsOf(readings, doses, known);
  const most = Math.max(2, ...readings.map((reading) => Math.abs(reading.strength)));
  byId("tags-empty").hidden = rows.length > 0;
  byId("reset-steering").hidden = Object.keys(doses).length === 0;
  reconcile(byId("tag-list"), rows, {
    key: (row) => row.tag,
    make,
    fill: (node, row) => fill(node, row, doses[row.tag] ?? 0, most),
  });
}

function make({ tag }) {
  const id = `causes-${tag.replace(/[^\p{L}\p{N}]+/gu, "-")}`;
  const name = el("button", { class: "tag-name", type: "button", "aria-expanded": "false", "aria-controls": id },
    el("span", { text: tag }));
  const causes = el("div", { class: "causes", id, hidden: true });
  name.addEventListener("click", () => {
    causes.hidden = !causes.hidden;
    name.setAttribute("aria-expanded", String(!causes.hidden));
  });
  return el("li", { class: "tag", dataset: { tag } },
    el("div", { class: "tag-head" }, name, el("span", { class: "tag-told" })),
    el("div", { class: "bar", role: "img" }, el("i")),
    steering(tag), causes);
}

function steering(tag) {
  const slider = el("input", {
    type: "range", min: -REACH, max: REACH, step: STEP, "aria-label": `Steer ${tag}, from less to more`,
    dataset: { tagSlider: tag }, on: { input: () => dose(tag, Number(slider.value)) },
  });
  const reset = el("button", {
    class: "close", type: "button", "aria-label": `Stop steering ${tag}`, title: "Back to zero",
    on: {
      click: () => {
        slider.focus();
        dose(tag, 0);
      },
    },
  }, "\u00d7");
  return el("div", { class: "steer" }, el("span", { text: "less", "aria-hidden": "true" }), slider,
    el("span", { class: "amount" }, el("output", { class: "dose" }), reset));
}

function fill(node, { strength, confidence, films }, amount, most) {
  const bar = node.querySelector(".bar");
  const told = node.querySelector(".tag-told");
  const measured = strength !== null;
  node.dataset.side = !measured || Math.abs(strength) < 0.05 ? "none" : strength > 0 ? "more" : "less";
  setVar(bar, "--reach", measured ? Math.abs(strength) / most : 0);
  setVar(bar, "--doubt", Math.min(1, Math.max(0, (SURE - (confidence ?? 0)) / 0.5)));
  bar.setAttribute("aria-label", measured ? inWords(strength, confidence) : "Not among the strongest tags of this taste");
  told.replaceChildren(...(measured
    ? [el("b", { text: signed(strength) }), ` ${sureness(confidence)}`]
    : ["steered only"]));
  showDose(node.querySelector(".steer"), amount);
  showCauses(node, films);
}

const inWords = (strength, confidence) =>
  `${Math.abs(strength).toFixed(1)} standard deviations ${strength < 0 ? "less" : "more"} than the average person, ` +
  `confidence ${confidence.toFixed(2)}, ${sureness(confidence)}`;

function showDose(steer, amount) {
  const slider = steer.querySelector("input");
  if (Number(slider.value) !== amount) slider.value = amount;
  setVar(slider, "--from", Math.min(0, amount) / (2 * REACH) + 0.5);
  setVar(slider, "--to", Math.max(0, amount) / (2 * REACH) + 0.5);
  slider.setAttribute("aria-valuetext", amount === 0 ? "not steered" : `${signed(amount, 2)} standard deviations`);
  steer.dataset.on = String(amount !== 0);
  steer.querySelector("output").textContent = amount === 0 ? "more" : signed(amount, 2);
  steer.querySelector("button").hidden = amount === 0;
}

function showCauses(node, films) {
  const causes = node.querySelector(".causes");
  const line = (film) => el("li", {}, titled(film), el("span", { class: "effect", text: signed(film.effect, 2) }));
  causes.replaceChildren(...(films.length
    ? [el("p", { text: "What each of these films adds to the reading:" }), el("ul", {}, ...films.map(line))]
    : [el("p", { text: "None of your films is named for this tag." })]));
}

/** Fills the box that adds any other tag of the model to steer by. */
export function startAdding(known) {
  const form = byId("add-tag");
  const box = byId("add-tag-name");
  form.hidden = known.size === 0;
  byId("all-tags").replaceChildren(...[...known.keys()].map((tag) => el("option", { value: tag })));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = box.value.trim().toLowerCase();
    const tag = [...known.keys()].find((name) => name.toLowerCase() === wanted);
    box.setCustomValidity(tag ? "" : "The model knows no tag of this name. Choose one of the list.");
    if (!tag) return form.reportValidity();
    box.value = "";
    dose(tag, 1);
    document.querySelector(`[data-tag-slider="${CSS.escape(tag)}"]`)?.focus();
  });
  box.addEventListener("input", () => box.setCustomValidity(""));
}
