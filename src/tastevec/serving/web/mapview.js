// The map's canvas: films as points, the person's place, and the way between the map's unit square and the screen.
import { calm } from "./dom.js";
import { dotsOn } from "./mapdots.js";

const MOST_ZOOM = 60;
const MARGIN = 0.03; // of the map, left free around it
const LABELS = 26;
const TRIES = 300; // films measured for a name in one drawing: on a full map most find no room

/**
 * A view of the map.
 * @param {HTMLCanvasElement} canvas
 * @param {{x: number[], y: number[], group: Uint8Array, names: function(number): string, order: Int32Array}} films
 *   coordinates in [0, 1], colour group and name of each film, and the films by how much they are watched, most first
 * @param {function(): Object} look the colours and marks to draw with now
 */
export function viewOf(canvas, films, look) {
  const pen = canvas.getContext("2d");
  const dots = dotsOn(pen, films);
  let size = { width: 0, height: 0, ratio: 1 };
  let centre = [0.5, 0.5];
  let zoom = 1;
  let place = null;
  let due = 0;

  const unit = () => Math.min(size.width, size.height) * (1 - 2 * MARGIN) * zoom;
  const toScreen = (x, y) => [size.width / 2 + (x - centre[0]) * unit(), size.height / 2 + (y - centre[1]) * unit()];
  const toMap = (left, top) => [centre[0] + (left - size.width / 2) / unit(), centre[1] + (top - size.height / 2) / unit()];

  /** Draws once before the next frame, however often it is asked for. */
  function redraw() {
    if (!due) due = requestAnimationFrame(() => {
      due = 0;
      draw();
    });
  }

  function draw() {
    const now = look();
    const { colours, lit, rated, marked, ink, ground } = now;
    const dot = Math.min(7, (films.x.length > 20000 ? 0.8 : 1.3) + Math.sqrt(zoom) * 0.55);
    const [left, top] = toScreen(0, 0);
    const [scale, radius] = [unit(), dot].map((length) => length * size.ratio);
    const shown = dots({ radius, scale, left: left * size.ratio, top: top * size.ratio }, colours, lit);
    pen.setTransform(size.ratio, 0, 0, size.ratio, 0, 0);
    for (const at of rated) ring(at, dot + 3, ink, ground);
    if (marked >= 0) ring(marked, dot + 5, ink, ground);
    names(shown, now);
    if (place) you(place, now);
  }

  function ring(at, radius, ink, ground) {
    const [x, y] = toScreen(films.x[at], films.y[at]);
    for (const [width, colour] of [[4, ground], [1.75, ink]]) {
      pen.lineWidth = width;
      pen.strokeStyle = colour;
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.stroke();
    }
  }

  /** Names the rated and then the most watched films that find room, as a map names its towns. */
  function names(shown, { rated, lit, ink, ground, serif }) {
    const around = ([x, y], left, right, high) => [x - left, y - high, x + right, y + high];
    const taken = rated.map((at) => around(toScreen(films.x[at], films.y[at]), 6, 6, 6));
    if (place) taken.push(around(toScreen(...place), 22, 48, 22));
    pen.font = `italic 13px ${serif}`;
    pen.textBaseline = "middle";
    pen.lineWidth = 3.5;
    pen.lineJoin = "round";
    pen.strokeStyle = ground;
    pen.fillStyle = ink;
    let named = 0;
    let tried = 0;
    const name = (at) => {
      if (!shown[at] || !lit(films.group[at])) return;
      tried += 1;
      const text = films.names(at);
      const [x, y] = toScreen(films.x[at], films.y[at]);
      const box = [x + 6, y - 11, x + 12 + pen.measureText(text).width, y + 11];
      if (box[2] > size.width || box[0] < 0 || taken.some((other) => overlap(box, other))) return;
      taken.push(box);
      named += 1;
      pen.strokeText(text, x + 8, y);
      pen.fillText(text, x + 8, y);
    };
    for (let at = rated.length - 1; at >= 0 && named < LABELS / 2; at -= 1) name(rated[at]);
    for (let at = 0; at < films.order.length && named < LABELS && tried < TRIES; at += 1) name(films.order[at]);
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
    for (const [width, colour] of [[6, ground], [2.25, ink]]) {
      pen.lineWidth = width;
      pen.strokeStyle = colour;
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

  function held() {
    zoom = Math.min(MOST_ZOOM, Math.max(1, zoom));
    // The middle of the screen stays on the map, so that nobody gets lost outside it.
    centre = centre.map((at) => (zoom === 1 ? 0.5 : Math.min(1, Math.max(0, at))));
    canvas.dataset.zoom = zoom.toFixed(2);
    redraw();
  }

  /** Zooms so that the point of the map under (left, top) stays there. */
  function zoomBy(factor, left = size.width / 2, top = size.height / 2) {
    const [x, y] = toMap(left, top);
    zoom = Math.min(MOST_ZOOM, Math.max(1, zoom * factor));
    centre = [x - (left - size.width / 2) / unit(), y - (top - size.height / 2) / unit()];
    held();
  }

  function panBy(left, top) {
    centre = [centre[0] - left / unit(), centre[1] - top / unit()];
    held();
  }

  /** Goes to a point and zoom, smoothly unless the person asked for calm. */
  function goTo(target, to) {
    travel([...centre, Math.log(zoom)], [...target, Math.log(to)], ([x, y, log]) => {
      centre = [x, y];
      zoom = Math.exp(log);
      held();
    });
  }

  /** Moves the person's place; null takes the mark away. */
  function setPlace(next) {
    if (!next || !place) {
      place = next;
      return redraw();
    }
    travel(place, next, (at) => {
      place = at;
      redraw();
    });
  }

  new ResizeObserver(resize).observe(canvas);
  return {
    redraw, zoomBy, panBy, goTo, setPlace, toMap, toScreen,
    reach: (pixels) => pixels / unit(),
    zoom: () => zoom,
    centre: () => centre,
  };
}

const overlap = (one, other) => one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];

/** Calls `step` with numbers on the way from `from` to `to`, over about half a second. */
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
