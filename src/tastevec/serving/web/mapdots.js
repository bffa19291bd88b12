// Tens of thousands of items as dots, written as pixels: canvas paths take ten times longer.

const LIT = 205; // opacity of 255: a dot, and a dot that the legend's filter excludes
const FAINT = 34;

/**
 * A disc for an image `width` pixels wide: the offsets of its pixels from the center, and their coverage.
 * @returns {{reach: number, steps: Int32Array, covers: Float32Array}} covers from 0 to 1
 */
function discOf(radius, width) {
  const reach = Math.ceil(radius);
  const [steps, covers] = [[], []];
  for (let dy = -reach; dy <= reach; dy += 1) {
    for (let dx = -reach; dx <= reach; dx += 1) {
      const cover = Math.min(1, radius + 0.5 - Math.hypot(dx, dy));
      if (cover < 0.05) continue;
      steps.push(dy * width + dx);
      covers.push(cover);
    }
  }
  return { reach, steps: Int32Array.from(steps), covers: Float32Array.from(covers) };
}

/** "rgb(1, 2, 3)" as a pixel without its alpha, in the byte order of every machine that runs a browser today. */
function pixelOf(color) {
  const [red, green, blue] = color.match(/[\d.]+/g).map(Number);
  return (blue << 16) | (green << 8) | red;
}

/**
 * A painter of dots on a canvas.
 * @param {CanvasRenderingContext2D} pen
 * @param {{x: number[], y: number[], group: Uint8Array, order: Int32Array}} items as for viewOf
 */
export function dotsOn(pen, items) {
  let image = null;
  let pixels = null;

  /**
   * Draws all items, the most popular on top, excluded ones below.
   * @param {{radius: number, scale: number, left: number, top: number}} how in device pixels: an item at (x, y) is drawn
   *   at (left + x * scale, top + y * scale)
   * @param {string[]} colors of the groups, as computed styles give them
   * @param {function(number): boolean} lit whether the filter includes a group
   * @returns {Uint8Array} 1 for each item on the canvas
   */
  return function draw({ radius, scale, left, top }, colors, lit) {
    const { width, height } = pen.canvas;
    const shown = new Uint8Array(items.x.length);
    if (!width || !height) return shown;
    if (image?.width !== width || image?.height !== height) {
      image = pen.createImageData(width, height);
      pixels = new Uint32Array(image.data.buffer);
    }
    pixels.fill(0);
    const { reach, steps, covers } = discOf(radius, width);
    const paint = colors.map(pixelOf);
    const included = colors.map((_, group) => lit(group));
    const stamp = (center, color, most) => {
      for (let part = 0; part < steps.length; part += 1) {
        const alpha = Math.round(most * covers[part]);
        const at = center + steps[part];
        // The edge of a dot must not thin out the center of one below it.
        if (alpha >= pixels[at] >>> 24) pixels[at] = (alpha << 24) | color;
      }
    };
    for (const pass of [false, true]) {
      for (let rank = items.order.length - 1; rank >= 0; rank -= 1) {
        const at = items.order[rank];
        const group = items.group[at];
        if (included[group] !== pass) continue;
        const x = Math.round(left + items.x[at] * scale);
        const y = Math.round(top + items.y[at] * scale);
        // Dots that cross the edge are skipped, so that discs need no clipping.
        if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
        shown[at] = 1;
        stamp(y * width + x, paint[group], pass ? LIT : FAINT);
      }
    }
    pen.putImageData(image, 0, 0);
    return shown;
  };
}
