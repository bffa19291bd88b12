// DOM helpers: text is always set as text, so that no title or tag becomes markup.

/**
 * A new element.
 * @param {string} name tag name
 * @param {Object} [given] class, text, dataset, on (listeners by event) and any attribute; null and false are skipped
 * @param {...(Node|string|null)} children
 */
export function el(name, given = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") node.className = value;
    else if (key === "text") node.textContent = value;
    else if (key === "dataset") Object.assign(node.dataset, value);
    else if (key === "on") for (const [event, run] of Object.entries(value)) node.addEventListener(event, run);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** The element with this ID in index.html. */
export const byId = (id) => document.getElementById(id);

/** Whether the system asks for reduced motion. */
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Sets a CSS custom property, which the content security policy allows, unlike style attributes. */
export const setVar = (node, name, value) => node.style.setProperty(name, String(value));

/** A signed number with a true minus sign, never minus zero. */
export function signed(value, digits = 1) {
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return (value < 0 ? "\u2212" : "+") + text;
}

/** "a, b and c" as nodes, each made by `make`. */
export function listed(values, make) {
  return values.flatMap((value, at) => {
    const before = at === 0 ? [] : [at === values.length - 1 ? " and " : ", "];
    return [...before, make(value)];
  });
}

/** Runs `run` once the calls have stopped for `wait` milliseconds. */
export function debounced(run, wait) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...given), wait);
  };
}

/** Announces a change to screen readers. */
export function announce(text) {
  byId("live").textContent = text;
}

/**
 * Makes the children of `list` match `values`, in order, and reuses the nodes (and the focus) of those that stay.
 * @param {Element} list
 * @param {Array} values
 * @param {{key: function, make: function, fill: function}} how key(value), make(value) -> node, fill(node, value)
 */
export function reconcile(list, values, { key, make, fill }) {
  const before = new Map([...list.children].map((node) => [node.dataset.key, node]));
  const tops = new Map([...before].map(([name, node]) => [name, node.offsetTop]));
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  const nodes = values.map((value) => {
    const name = String(key(value));
    const node = before.get(name) ?? make(value);
    node.dataset.key = name;
    fill(node, value);
    return node;
  });
  list.replaceChildren(...nodes);
  if (focused?.isConnected) focused.focus({ preventScroll: true });
  if (!calm()) for (const node of nodes) slide(node, tops.get(node.dataset.key));
}

/** Animates a moved node, and fades in a new one. */
function slide(node, top) {
  const ease = "cubic-bezier(.2, .7, .2, 1)";
  if (top === undefined) {
    node.animate({ opacity: [0, 1] }, { duration: 320, easing: "ease-out" });
  } else if (top !== node.offsetTop) {
    const way = `translateY(${top - node.offsetTop}px)`;
    node.animate({ transform: [way, "none"] }, { duration: 420, easing: ease });
  }
}
