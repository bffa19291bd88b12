// Spatial index: the nearest item to a point, from a grid of cells over the map's unit square.

const CELLS = 128;
const cell = (at) => Math.min(CELLS - 1, Math.max(0, Math.floor(at * CELLS)));

/** A grid over points with coordinates in [0, 1]; `x` and `y` are arrays of one length N. */
export function gridOf(x, y) {
  const starts = new Int32Array(CELLS * CELLS + 1);
  const where = Int32Array.from(x, (_, at) => cell(y[at]) * CELLS + cell(x[at]));
  for (const here of where) starts[here + 1] += 1;
  for (let at = 0; at < CELLS * CELLS; at += 1) starts[at + 1] += starts[at];
  const next = starts.slice();
  const order = new Int32Array(x.length);
  where.forEach((here, at) => {
    order[next[here]] = at;
    next[here] += 1;
  });

  /**
   * The point nearest to (px, py) within `reach`, or -1.
   * @param {function(number): boolean} accept filter of points
   */
  function nearest(px, py, reach, accept) {
    let best = -1;
    let least = reach * reach;
    for (let row = cell(py - reach); row <= cell(py + reach); row += 1) {
      const from = starts[row * CELLS + cell(px - reach)];
      const to = starts[row * CELLS + cell(px + reach) + 1];
      for (let at = from; at < to; at += 1) {
        const point = order[at];
        const apart = (x[point] - px) ** 2 + (y[point] - py) ** 2;
        if (apart <= least && accept(point)) {
          least = apart;
          best = point;
        }
      }
    }
    return best;
  }
  return { nearest };
}

/** The `count` accepted points nearest to (px, py), nearest first. */
export function nearestPoints(x, y, [px, py], count, accept) {
  const best = [];
  for (let at = 0; at < x.length; at += 1) {
    const apart = (x[at] - px) ** 2 + (y[at] - py) ** 2;
    if (best.length === count && apart >= best[count - 1].apart) continue;
    if (!accept(at)) continue;
    const rank = best.findIndex((each) => each.apart > apart);
    best.splice(rank < 0 ? best.length : rank, 0, { at, apart });
    if (best.length > count) best.pop();
  }
  return best.map(({ at }) => at);
}
