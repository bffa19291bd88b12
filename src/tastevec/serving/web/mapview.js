// The map's canvas: items as dots, the user's position, and the transform from the map's unit square to the screen.
import { calm } from "./dom.js";
import { dotsOn } from "./mapdots.js";

const MOST_ZOOM = 60;
const MARGIN = 0.03; // free space around the map, as a share
const LABELS = 26;
const TRIES = 300; // items tried for a name in one drawing: on a full map most have no room

/**
 * A view of the map.
 * @param {HTMLCanvasElement} canvas
 * @param {{x: number[], y: number[], group: Uint8Array, names: function(number): string, order: Int32Array}} items
 *   coordinates in [0, 1], color group and name of each item, and the items by popularity, most popular first
 * @param {function(): Object} look the current colors and marks
 */
export function viewOf(canvas, items, look) {
  const pen = canvas.getContext("2d");
  const dots = dotsOn(pen, items);
  let size = { width: 0, height: 0, ratio: 1 };
  let center = [0.5, 0.5];
  let zoom = 1;
  let position = null;
  let due = 0;

  const unit = () => Math.min(size.width, size.height) * (1 - 2 * MARGIN) * zoom;
  const toScreen = (x, y) => [size.width / 2 + (x - center[0]) * unit(), size.height / 2 + (y - center[1]) * unit()];
  const toMap = (left, top) => [center[0] + (left - size.width / 2) / unit(), center[1] + (top - size.height / 2) / unit()];

  /** Draws once before the next frame, however often it is called. */
  function redraw() {
    if (!due) due = requestAnimationFrame(() => {
      due = 0;
      draw();
    });
  }

  function draw() {
    const now = look();
    const { colors, lit, rated, marked, ink, ground } = now;
    const dot = Math.min(7, (items.x.length > 20000 ? 0.8 : 1.3) + Math.sqrt(zoom) * 0.55);
    const [left, top] = toScreen(0, 0);
    const [scale, radius] = [unit(), dot].map((length) => length * size.ratio);
    const shown = dots({ radius, scale, left: left * size.ratio, top: top * size.ratio }, colors, lit);
    pen.setTransform(size.ratio, 0, 0, size.ratio, 0, 0);
    for (const at of rated) ring(at, dot + 3, ink, ground);
    if (marked >= 0) ring(marked, dot + 5, ink, ground);
    names(shown, now);
    if (position) you(position, now);
  }

  function ring(at, radius, ink, ground) {
    const [x, y] = toScreen(items.x[at], items.y[at]);
    for (const [width, color] of [[4, ground], [1.75, ink]]) {
      pen.lineWidth = width;
      pen.strokeStyle = color;
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.stroke();
    }
  }

  /** Names the rated and then the most popular items that have room. */
  function names(shown, { rated, lit, ink, ground, serif }) {
    const around = ([x, y], left, right, high) => [x - left, y - high, x + right, y + high];
    const taken = rated.map((at) => around(toScreen(items.x[at], items.y[at]), 6, 6, 6));
    if (position) taken.push(around(toScreen(...position), 22, 48, 22));
    pen.font = `italic 13px ${serif}`;
    pen.textBaseline = "middle";
    pen.lineWidth = 3.5;
    pen.lineJoin = "round";
    pen.strokeStyle = ground;
    pen.fillStyle = ink;
    let named = 0;
    let tried = 0;
    const name = (at) => {
      if (!shown[at] || !lit(items.group[at])) return;
      tried += 1;
      const text = items.names(at);
      const [x, y] = toScreen(items.x[at], items.y[at]);
      const box = [x + 6, y - 11, x + 12 + pen.measureText(text).width, y + 11];
      if (box[2] > size.width || box[0] < 0 || taken.some((other) => overlap(box, other))) return;
      taken.push(box);
      named += 1;
      pen.strokeText(text, x + 8, y);
      pen.fillText(text, x + 8, y);
    };
    for (let at = rated.length - 1; at >= 0 && named < LABELS / 2; at -= 1) name(rated[at]);
    for (let at = 0; at < items.order.length && named < LABELS && tried < TRIES; at += 1) name(items.order[at]);
  }

  function you([px, py], { ink, ground, narrow }) {
    const [x, y] = toScreen(px, py);
    const cross = () => {
      pen.beginPath();
      pen.arc(x, y, 13, 0, 2 * Math.PI);
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        pen.moveTo(x + dx * 5, y + dy * 5);
        pen.lineTo(x + dx * 22, y + dy * 22);
      }
      pen.stroke();
    };
    for (const [width, color] of [[6, ground], [2.25, ink]]) {
      pen.lineWidth = width;
      pen.strokeStyle = color;
      cross();
    }
    pen.font = `600 14px ${narrow}`;
    pen.fontStretch = "condensed";
    pen.lineWidth = 4;
    pen.strokeStyle = ground;
    pen.strokeText("You", x + 16, y - 15);
    pen.fillStyle = ink;
    pen.fillText("You", x + 16, y - 15);
    pen.fontStretch = "normal";
  }

  function resize() {
    const box = canvas.getBoundingClientRect();
    size = { width: box.width, height: box.height, ratio: devicePixelRatio || 1 };
    canvas.width = Math.round(box.width * size.ratio);
    canvas.height = Math.round(box.height * size.ratio);
    redraw();
  }

  function clamp() {
    zoom = Math.min(MOST_ZOOM, Math.max(1, zoom));
    // The center of the screen stays on the map, so that the map never leaves the screen.
    center = center.map((at) => (zoom === 1 ? 0.5 : Math.min(1, Math.max(0, at))));
    canvas.dataset.zoom = zoom.toFixed(2);
    redraw();
  }

  /** Zooms so that the point of the map under (left, top) stays there. */
  function zoomBy(factor, left = size.width / 2, top = size.height / 2) {
    const [x, y] = toMap(left, top);
    zoom = Math.min(MOST_ZOOM, Math.max(1, zoom * factor));
    center = [x - (left - size.width / 2) / unit(), y - (top - size.height / 2) / unit()];
    clamp();
  }

  function panBy(left, top) {
    center = [center[0] - left / unit(), center[1] - top / unit()];
    clamp();
  }

  /** Goes to a point and zoom, animated unless the system asks for reduced motion. */
  function goTo(target, to) {
    travel([...center, Math.log(zoom)], [...target, Math.log(to)], ([x, y, log]) => {
      center = [x, y];
      zoom = Math.exp(log);
      clamp();
    });
  }

  /** Moves the user's position; null removes the mark. */
  function setPosition(next) {
    if (!next || !position) {
      position = next;
      return redraw();
    }
    travel(position, next, (at) => {
      position = at;
      redraw();
    });
  }

  new ResizeObserver(resize).observe(canvas);
  return {
    redraw, zoomBy, panBy, goTo, setPosition, toMap, toScreen,
    reach: (pixels) => pixels / unit(),
    zoom: () => zoom,
    center: () => center,
  };
}

const overlap = (one, other) => one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];

/** Calls `step` with values from `from` to `to`, over about half a second. */
function travel(from, to, step) {
  if (calm()) return step(to);
  const begin = performance.now();
  const frame = (time) => {
    const part = Math.min(1, Math.max(0, (time - begin) / 550));
    const eased = 1 - (1 - part) ** 3;
    step(from.map((at, here) => at + (to[here] - at) * eased));
    if (part < 1) requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}
