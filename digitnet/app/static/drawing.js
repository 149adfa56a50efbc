// A drawing: strokes with undo and redo. It knows nothing of the page.
//
// A stroke is {width, points: [[x, y], ...]}. Positions and widths are fractions of the height of the canvas.

const SMOOTHING = 0.8; // weight of the previous point for a close one: the hand and the mouse tremble
const TREMOR = 0.03; // distance at which this weight has fallen to 1/e: a quick hand does not tremble
const MIN_DISTANCE = 0.003; // between two points; the height of a canvas is 150 to 900 pixels
const STILL = 0.05; // the path of a finger that hardly moved, for example that of a resting palm

/** Return the distance of two points. */
const distance = ([x, y], [otherX, otherY]) => Math.hypot(otherX - x, otherY - y);

/** A stroke while it is drawn. */
class ActiveStroke {
  constructor(width, point, smooth) {
    this.width = width;
    this.points = [point];
    this.length = 0;
    this.companions = new Set(); // strokes that are drawn at the same time
    this.smooth = smooth;
    this.last = point; // where the pointer is
    this.isActive = true;
  }

  add(point) {
    this.last = point;
    const previous = this.points.at(-1);
    const weight = this.smooth ? SMOOTHING * Math.exp(-distance(previous, point) / TREMOR) : 0;
    const mix = (a, b) => weight * a + (1 - weight) * b;
    const next = [mix(previous[0], point[0]), mix(previous[1], point[1])];
    const step = distance(previous, next);
    if (step < MIN_DISTANCE) return;
    this.points.push(next);
    this.length += step;
  }

  /** End where the pointer is: the smoothed points lag behind it. */
  finish() {
    if (distance(this.points.at(-1), this.last) > 0) this.points.push(this.last);
  }

  get isStill() {
    return this.length < STILL;
  }

  /** Whether it leaves ink. Of several fingers, one that hardly moved does not, unless it came last and all were still. */
  get leavesInk() {
    if (!this.isStill) return true;
    return [...this.companions].every((other) => other.isStill && other.began < this.began);
  }
}

export class Drawing {
  #finished = []; // strokes; the array is replaced, never changed
  #active = new Map(); // the strokes that are being drawn, by pointer
  #past = [];
  #future = [];
  #count = 0;

  /** All strokes that leave ink, in the order in which they began. */
  get strokes() {
    return [...this.#finished, ...[...this.#active.values()].filter((stroke) => stroke.leavesInk)];
  }

  get finishedStrokes() {
    return this.#finished;
  }

  get isEmpty() {
    return this.strokes.length === 0;
  }

  get isActive() {
    return this.#active.size > 0;
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  isDrawnBy(pointer) {
    return this.#active.has(pointer);
  }

  begin(pointer, width, point, { smooth = true } = {}) {
    const stroke = new ActiveStroke(width, point, smooth);
    stroke.began = this.#count++;
    for (const other of this.#active.values()) {
      other.companions.add(stroke);
      stroke.companions.add(other);
    }
    this.#active.set(pointer, stroke);
  }

  extend(pointer, points) {
    const stroke = this.#active.get(pointer);
    for (const point of points) stroke.add(point);
  }

  end(pointer) {
    const stroke = this.#active.get(pointer);
    if (!stroke) return;
    this.#active.delete(pointer);
    stroke.finish();
    if (stroke.leavesInk) this.replace([...this.#finished, { width: stroke.width, points: stroke.points }]);
  }

  /** Remove the strokes that are being drawn by these pointers. */
  discard(pointers) {
    for (const pointer of pointers) this.#active.delete(pointer);
  }

  endAll() {
    for (const pointer of [...this.#active.keys()]) this.end(pointer);
  }

  /** Replace all strokes, in a way that can be undone. */
  replace(strokes) {
    this.#past.push(this.#finished);
    this.#future = [];
    this.#finished = strokes;
  }

  clear() {
    this.endAll();
    if (this.#finished.length) this.replace([]);
  }

  undo() {
    this.endAll();
    if (!this.canUndo) return;
    this.#future.push(this.#finished);
    this.#finished = this.#past.pop();
  }

  redo() {
    this.endAll();
    if (!this.canRedo) return;
    this.#past.push(this.#finished);
    this.#finished = this.#future.pop();
  }
}

/** Return {left, top, right, bottom} of the points of strokes, or null if there are none. */
export function boundsOf(strokes) {
  if (!strokes.length) return null;
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const { points } of strokes) {
    for (const [x, y] of points) {
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
  }
  return { left, top, right, bottom };
}
