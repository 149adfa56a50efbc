// Paints strokes on a canvas: black on white, as curves.

const PIECES = 64; // of a curve, in one path

/** Paints a drawing again and again, and only what is new of it. */
export class Painter {
  #settled = document.createElement("canvas"); // what does not change any more
  #painted = []; // the strokes on it: {points, index of the next point to paint, whether it has its end}

  /**
   * Paint strokes on a canvas.
   *
   * @param {HTMLCanvasElement} target
   * @param {object[]} strokes
   * @param {number} size - height of the canvas in pixels
   * @param {number} [aspect] - its width per height
   */
  paint(target, strokes, size, aspect = 1) {
    const width = Math.round(size * aspect);
    this.#settle(strokes, width, size);
    if (target.width !== width || target.height !== size) resize(target, width, size);
    const context = target.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(this.#settled, 0, 0);
    strokes.forEach((stroke, index) => {
      if (stroke.isActive) paintRest(prepare(context, size), stroke, this.#painted[index].next);
    });
  }

  #settle(strokes, width, size) {
    const canContinue =
      this.#settled.width === width &&
      this.#settled.height === size &&
      this.#painted.length <= strokes.length &&
      this.#painted.every(({ points }, index) => points === strokes[index].points);
    if (!canContinue) {
      this.#painted = [];
      resize(this.#settled, width, size);
      const context = this.#settled.getContext("2d");
      context.fillStyle = "#fff";
      context.fillRect(0, 0, width, size);
    }
    const context = prepare(this.#settled.getContext("2d"), size);
    strokes.forEach((stroke, index) => {
      const painted = (this.#painted[index] ??= { points: stroke.points, next: 1, ended: false });
      for (; painted.next + PIECES <= stroke.points.length; painted.next += PIECES) {
        paintPieces(context, stroke, painted.next, painted.next + PIECES);
      }
      if (!stroke.isActive && !painted.ended) {
        paintRest(context, stroke, painted.next);
        painted.ended = true;
      }
    });
  }
}

/** Paint strokes on a new canvas, with another transform than that of the page. */
export function paintOnce(strokes, size, aspect = 1) {
  const canvas = document.createElement("canvas");
  new Painter().paint(canvas, strokes, size, aspect);
  return canvas;
}

function resize(canvas, width, height) {
  [canvas.width, canvas.height] = [width, height];
}

function prepare(context, size) {
  context.setTransform(size, 0, 0, size, 0, 0);
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = "#000";
  return context;
}

const middle = ([x, y], [otherX, otherY]) => [(x + otherX) / 2, (y + otherY) / 2];

/**
 * Paint the curve through the midpoints between points: the pieces of the points from index `from` to before `to`.
 *
 * One path has no visible joints; two that meet have, because the pixels at their edges are painted twice. A path has
 * a fixed number of pieces, so that the pixels do not depend on how many are painted at once.
 */
function paintPieces(context, { width, points }, from, to, end = null) {
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(...(from < 2 ? points[0] : middle(points[from - 2], points[from - 1])));
  for (let i = from; i < to; i++) context.quadraticCurveTo(...points[i - 1], ...middle(points[i - 1], points[i]));
  if (end) context.lineTo(...end);
  context.stroke();
}

/** Paint the pieces from index `from` on, and the line from the last midpoint to the end. */
function paintRest(context, stroke, from) {
  const { points } = stroke, [x, y] = points.at(-1);
  const end = [x + (points.length === 1 ? 1e-4 : 0), y]; // a line without length would not be painted
  paintPieces(context, stroke, from, points.length, end);
}
