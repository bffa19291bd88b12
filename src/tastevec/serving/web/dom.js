// Building the page's nodes: text is always set as text, so no title or tag can become markup.

/**
 * A new element.
 * @param {string} name tag name
 * @param {Object} [given] class, text, dataset, on (listeners by event) and any attribute; null and false are left out
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

/** The element with this id, which index.html promises. */
export const byId = (id) => document.getElementById(id);

/** Whether the person asked her system for less movement. */
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Sets a custom property; allowed under a strict policy, unlike a style attribute in the markup. */
export const setVar = (node, name, value) => node.style.setProperty(name, String(value));

/** A signed number for people: a true minus sign, never a minus zero. */
export function signed(value, digits = 1) {
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return (value < 0 ? "\u2212" : "+") + text;
}

/** "a, b and c" as nodes, each made by `make`. */
export function listed(things, make) {
  return things.flatMap((thing, at) => {
    const before = at === 0 ? [] : [at === things.length - 1 ? " and " : ", "];
    return [...before, make(thing)];
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

/** Tells screen readers what changed, in one sentence. */
export function announce(sentence) {
  byId("live").textContent = sentence;
}

/**
 * Makes the children of `list` match `things`, in order, keeping the nodes (and the focus) of those that stay.
 * @param {Element} list
 * @param {Array} things
 * @param {{key: function, make: function, fill: function}} how key(thing), make(thing) -> node, fill(node, thing)
 */
export function reconcile(list, things, { key, make, fill }) {
  const before = new Map([...list.children].map((node) => [node.dataset.key, node]));
  const tops = new Map([...before].map(([name, node]) => [name, node.offsetTop]));
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  const nodes = things.map((thing) => {
    const name = String(key(thing));
    const node = before.get(name) ?? make(thing);
    node.dataset.key = name;
    fill(node, thing);
    return node;
  });
  list.replaceChildren(...nodes);
  if (focused?.isConnected) focused.focus({ preventScroll: true });
  if (!calm()) for (const node of nodes) slide(node, tops.get(node.dataset.key));
}

/** Lets a node that moved be seen moving, and a new one appear. */
function slide(node, top) {
  const ease = "cubic-bezier(.2, .7, .2, 1)";
  if (top === undefined) {
    node.animate({ opacity: [0, 1] }, { duration: 320, easing: "ease-out" });
  } else if (top !== node.offsetTop) {
    const way = `translateY(${top - node.offsetTop}px)`;
    node.animate({ transform: [way, "none"] }, { duration: 420, easing: ease });
  }
}
