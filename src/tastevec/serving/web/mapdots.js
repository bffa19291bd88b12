// Tens of thousands of films as dots: written straight into pixels, since a canvas path of as many takes ten times longer.

const LIT = 205; // of 255: how solid a dot is, and a dot that the legend's filter leaves out
const FAINT = 34;

/**
 * A disc as a stamp for an image `width` pixels wide: where its pixels lie from its middle, and how solid each is.
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
function pixelOf(colour) {
  const [red, green, blue] = colour.match(/[\d.]+/g).map(Number);
  return (blue << 16) | (green << 8) | red;
}

/**
 * A painter of dots on a canvas.
 * @param {CanvasRenderingContext2D} pen
 * @param {{x: number[], y: number[], group: Uint8Array, order: Int32Array}} films as for viewOf
 */
export function dotsOn(pen, films) {
  let image = null;
  let pixels = null;

  /**
   * Draws all films, the most watched on top, those left out by the filter below.
   * @param {{radius: number, scale: number, left: number, top: number}} how in device pixels: a film at (x, y) lies at
   *   (left + x * scale, top + y * scale)
   * @param {string[]} colours of the groups, as computed styles give them
   * @param {function(number): boolean} lit whether a group is asked for
   * @returns {Uint8Array} 1 for each film that lies on the canvas
   */
  return function draw({ radius, scale, left, top }, colours, lit) {
    const { width, height } = pen.canvas;
    const shown = new Uint8Array(films.x.length);
    if (!width || !height) return shown;
    if (image?.width !== width || image?.height !== height) {
      image = pen.createImageData(width, height);
      pixels = new Uint32Array(image.data.buffer);
    }
    pixels.fill(0);
    const { reach, steps, covers } = discOf(radius, width);
    const paint = colours.map(pixelOf);
    const asked = colours.map((_, group) => lit(group));
    const stamp = (middle, colour, most) => {
      for (let part = 0; part < steps.length; part += 1) {
        const alpha = Math.round(most * covers[part]);
        const at = middle + steps[part];
        // The rim of a dot never thins out the middle of one below it.
        if (alpha >= pixels[at] >>> 24) pixels[at] = (alpha << 24) | colour;
      }
    };
    for (const pass of [false, true]) {
      for (let rank = films.order.length - 1; rank >= 0; rank -= 1) {
        const at = films.order[rank];
        const group = films.group[at];
        if (asked[group] !== pass) continue;
        const x = Math.round(left + films.x[at] * scale);
        const y = Math.round(top + films.y[at] * scale);
        // A dot that would be cut by the canvas's edge is left out: stamps need no care for edges then.
        if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
        shown[at] = 1;
        stamp(y * width + x, paint[group], pass ? LIT : FAINT);
      }
    }
    pen.putImageData(image, 0, 0);
    return shown;
  };
}
