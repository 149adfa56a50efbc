// What NumPy offers to digitnet/numbers: rounding, medians and searches.

/** Round to the nearest integer, and halves to the even one, as Python does. */
export function round(value) {
  const rounded = Math.floor(value + 0.5);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** Return the median of numbers; of an even count, the mean of both in the middle. */
export function median(values) {
  const sorted = new Float64Array(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Return the largest number; -Infinity if there is none. */
export function max(values) {
  let largest = -Infinity;
  for (let i = 0; i < values.length; i++) if (values[i] > largest) largest = values[i];
  return largest;
}

/** Return the smallest number; Infinity if there is none. */
export function min(values) {
  let smallest = Infinity;
  for (let i = 0; i < values.length; i++) if (values[i] < smallest) smallest = values[i];
  return smallest;
}

/** Return the first index of the largest number. */
export function argmax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** Return the first index of the smallest number. */
export function argmin(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] < values[best]) best = i;
  return best;
}

/** Return the box, [left, top, right, bottom], around boxes. */
export function around(boxes) {
  const [left, top, right, bottom] = [0, 1, 2, 3].map((side) => boxes.map((box) => box[side]));
  return [min(left), min(top), max(right), max(bottom)];
}

/** Return the integers from `start` to before `stop`. */
export const range = (start, stop) => Array.from({ length: stop - start }, (_, i) => start + i);
