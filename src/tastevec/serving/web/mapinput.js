// Map input: mouse, touch and keyboard move the view and select items.

const CLICK = 5; // maximum movement of a click, in pixels
const KEYS = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };

/**
 * Starts the input of the canvas.
 * @param {HTMLCanvasElement} canvas
 * @param {Object} view of viewOf
 * @param {{hover: function, choose: function, leave: function, showAll: function}} actions
 *   `hover` and `choose` get a point on the canvas in pixels, and whether it comes from the keyboard
 */
export function listenToMap(canvas, view, { hover, choose, leave, showAll }) {
  const fingers = new Map();
  let moved = 0;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const center = () => [canvas.clientWidth / 2, canvas.clientHeight / 2];

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, at(event));
    if (fingers.size === 1) moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    const now = at(event);
    if (!before) return hover(now, false);
    if (fingers.size === 2) pinch(event.pointerId, before, now);
    else if (event.pointerType !== "touch" || view.zoom() > 1) view.panBy(now[0] - before[0], now[1] - before[1]);
    moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
    fingers.set(event.pointerId, now);
    if (moved > CLICK) hover(null, false);
  });
  const lift = (event) => {
    const pressed = fingers.delete(event.pointerId);
    if (pressed && event.type === "pointerup" && fingers.size === 0 && moved <= CLICK) choose(at(event), false);
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", leave);

  function pinch(id, before, now) {
    const [, other] = [...fingers].find(([each]) => each !== id);
    const [was, is] = [before, now].map((point) => Math.hypot(point[0] - other[0], point[1] - other[1]));
    view.panBy((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    if (was > 0) view.zoomBy(is / was, (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    moved = CLICK + 1;
  }

  canvas.addEventListener("wheel", (event) => {
    // Without focus the wheel scrolls the page, so that the map does not trap it.
    if (document.activeElement !== canvas && !event.ctrlKey) return;
    if (event.deltaY > 0 && view.zoom() <= 1) return;
    event.preventDefault();
    view.zoomBy(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 0.05 : 0.0016)), ...at(event));
  }, { passive: false });

  canvas.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in KEYS) view.panBy(...KEYS[event.key]);
    else if (event.key === "+" || event.key === "=") view.zoomBy(1.5);
    else if (event.key === "-") view.zoomBy(1 / 1.5);
    else if (event.key === "0") showAll();
    else if (event.key === "Enter" || event.key === " ") choose(center(), true);
    else return;
    event.preventDefault();
    hover(center(), true);
  });
  canvas.addEventListener("blur", leave);
}
