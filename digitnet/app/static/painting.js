// Paints strokes on a canvas: black on white, as curves.

/** Paints a drawing again and again, and only what is new of it. */
export class Painter {
  #settled = document.createElement("canvas"); // what does not change any more
  #painted = []; // the strokes on it: {points, count of the points that are painted, whether it has its end}

  /**
   * Paint strokes on a canvas.
   *
   * @param {HTMLCanvasElement} target
   * @param {object[]} strokes
   * @param {number} size - side of the canvas in pixels
   */
  paint(target, strokes, size) {
    this.#settle(strokes, size);
    if (target.width !== size || target.height !== size) target.width = target.height = size;
    const context = target.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(this.#settled, 0, 0);
    for (const stroke of strokes.filter(({ isActive }) => isActive)) paintEnd(prepare(context, size), stroke);
  }

  #settle(strokes, size) {
    const canContinue =
      this.#settled.width === size &&
      this.#painted.length <= strokes.length &&
      this.#painted.every(({ points }, index) => points === strokes[index].points);
    if (!canContinue) {
      this.#painted = [];
      this.#settled.width = this.#settled.height = size;
      const context = this.#settled.getContext("2d");
      context.fillStyle = "#fff";
      context.fillRect(0, 0, size, size);
    }
    const context = prepare(this.#settled.getContext("2d"), size);
    strokes.forEach((stroke, index) => {
      const painted = (this.#painted[index] ??= { points: stroke.points, count: 1, ended: false });
      paintCurve(context, stroke, painted.count);
      painted.count = stroke.points.length;
      if (!stroke.isActive && !painted.ended) {
        paintEnd(context, stroke);
        painted.ended = true;
      }
    });
  }
}

/** Paint strokes on a new canvas, with another transform than that of the page. */
export function paintOnce(strokes, size) {
  const canvas = document.createElement("canvas");
  new Painter().paint(canvas, strokes, size);
  return canvas;
}

function prepare(context, size) {
  context.setTransform(size, 0, 0, size, 0, 0);
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = "#000";
  return context;
}

const middle = ([x, y], [otherX, otherY]) => [(x + otherX) / 2, (y + otherY) / 2];

/**
 * Paint the curve through the midpoints between points, from the point with this index on.
 *
 * Each piece is a path of its own, so that the pixels do not depend on how many are painted at once.
 */
function paintCurve(context, { width, points }, from) {
  context.lineWidth = width;
  for (let i = from; i < points.length; i++) {
    context.beginPath();
    context.moveTo(...(i < 2 ? points[0] : middle(points[i - 2], points[i - 1])));
    context.quadraticCurveTo(...points[i - 1], ...middle(points[i - 1], points[i]));
    context.stroke();
  }
}

/** Paint the line from the last midpoint to the end. */
function paintEnd(context, { width, points }) {
  const [x, y] = points.at(-1);
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(...(points.length === 1 ? points[0] : middle(points.at(-2), points.at(-1))));
  context.lineTo(x + (points.length === 1 ? 1e-4 : 0), y); // a line without length would not be painted
  context.stroke();
}
