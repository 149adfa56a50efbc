// Crops: the pixels of a segment, scaled like a digit of MNIST: digitnet/numbers/crops.py.
import { around, max, round } from "./arrays.js";
import { contract, crops as constants } from "./constants.js";

const { IMAGE_SIZE } = contract;
const { BOX, MARGIN } = constants;

/**
 * Return an image of a segment without its neighbors.
 *
 * @param {object} pieces - see segments.js
 * @param {{start: number, stop: number}} segment
 * @returns {Uint8Array} 28 x 28 gray levels, bright on black
 */
export function crop(pieces, { start, stop }) {
  const ink = inkOf(pieces, start, stop);
  const result = new Uint8Array(IMAGE_SIZE ** 2);
  if (!ink) return result;
  const longest = Math.max(ink.width, ink.height);
  const rows = weightsOf(ink.height, longest), columns = weightsOf(ink.width, longest);
  const scaled = new Float64Array(IMAGE_SIZE ** 2), sums = new Float64Array(ink.width);
  rows.forEach(({ first, weights }, y) => {
    sums.fill(0);
    weights.forEach((weight, i) => {
      for (let x = 0; x < ink.width; x++) sums[x] += weight * ink.data[(first + i) * ink.width + x];
    });
    columns.forEach((column, x) => {
      column.weights.forEach((weight, i) => { scaled[y * IMAGE_SIZE + x] += weight * sums[column.first + i]; });
    });
  });
  const gain = 255 / Math.max(max(scaled), 1);
  return result.map((_, i) => round(scaled[i] * gain));
}

/** Return the ink of pieces and the soft edges of their strokes, without empty rows and columns; null if there is none. */
function inkOf({ numbers, contrast, boxes, width, rows }, start, stop) {
  const box = around(boxes.slice(start, stop));
  const left = Math.max(box[0] - 1, 0), top = Math.max(box[1] - 1, 0);
  const right = Math.min(box[2] + 1, width), bottom = Math.min(box[3] + 1, rows);
  const isOwn = (x, y) => {
    const number = x >= left && x < right && y >= top && y < bottom ? numbers[y * width + x] : 0;
    return number > start && number <= stop;
  };
  const hasOwnNeighbor = (x, y) => {
    for (let dy = -1; dy <= 1; dy++) for (let dx = -1; dx <= 1; dx++) if (isOwn(x + dx, y + dy)) return true;
    return false;
  };
  const values = [];
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const i = y * width + x;
      if (contrast[i] && (isOwn(x, y) || (numbers[i] === 0 && hasOwnNeighbor(x, y)))) values.push([x, y, contrast[i]]);
    }
  }
  if (!values.length) return null;
  const inner = around(values.map(([x, y]) => [x, y, x + 1, y + 1]));
  const ink = { width: inner[2] - inner[0], height: inner[3] - inner[1] };
  ink.data = new Float32Array(ink.width * ink.height);
  for (const [x, y, value] of values) ink.data[(y - inner[1]) * ink.width + x - inner[0]] = value;
  return ink;
}

/** Return which of `length` pixels count how much for each of 28 pixels if the longer side is `longest` pixels. */
function weightsOf(length, longest) {
  const scale = longest / BOX, half = Math.max(scale, 1) / 2;
  const shift = Math.trunc((BOX - length / scale) / 2); // centered
  return Array.from({ length: IMAGE_SIZE }, (_, i) => {
    const middle = (i + 0.5 - MARGIN - shift) * scale;
    const start = Math.max(middle - half, 0), stop = Math.min(middle + half, length);
    const first = Math.floor(start), weights = [];
    for (let x = first; x < stop; x++) weights.push(Math.max(Math.min(stop, x + 1) - Math.max(start, x), 0));
    return { first, weights };
  });
}
