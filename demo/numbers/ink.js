// Ink: the contrast of strokes to the background, and which pixels belong to strokes: digitnet/numbers/ink.py.
// Math.fround rounds like the float32 arrays there.
import { argmax, max, median, min, round } from "./arrays.js";
import { ink as constants } from "./constants.js";

const { MAX_GRAY, GRID, WINDOW, SURROUNDINGS, EVEN, MIN_CONTRAST, MIN_SIGNAL, EDGE_NOISE, FAINTEST, CLEAN } = constants;
const { NOISE_STEP, STD_PER_MEDIAN, DARKEST, STRONGEST } = constants;
const LEVELS = 256;
const MIN_STRONGEST = 12; // pixels
const { fround } = Math;

/**
 * Return gray levels, with transparent pixels replaced by a background.
 *
 * @param {ImageData} image - RGBA
 * @returns {{data: Uint8Array, width: number, height: number}}
 */
export function toGray({ data, width, height }) {
  const count = width * height, result = new Uint8Array(count);
  const levelOf = (i) => (data[4 * i] + data[4 * i + 1] + data[4 * i + 2]) / 3;
  let ink = 0, total = 0;
  for (let i = 0; i < count; i++) {
    const opacity = data[4 * i + 3] / MAX_GRAY;
    ink += levelOf(i) * opacity;
    total += opacity;
  }
  const background = ink < (MAX_GRAY / 2) * total ? MAX_GRAY : 0;
  for (let i = 0; i < count; i++) {
    result[i] = round((levelOf(i) - background) * (data[4 * i + 3] / MAX_GRAY) + background);
  }
  return { data: result, width, height };
}

/**
 * Separate the ink from the background.
 *
 * @param {{data: Uint8Array, width: number, height: number}} gray
 * @returns {{contrast: Uint8Array, mask: Uint8Array, width: number, height: number}} the contrast of the strokes, 0 where
 *     it does not exceed the noise, and 1 for pixels that belong to strokes
 */
export function findInk(gray) {
  const { width, height } = gray;
  const { contrast, noise } = subtractBackground(gray);
  const levels = new Uint8Array(contrast.length), histogram = new Float64Array(LEVELS);
  for (let i = 0; i < levels.length; i++) {
    levels[i] = contrast[i] < MAX_GRAY ? contrast[i] : MAX_GRAY;
    histogram[levels[i]]++;
  }
  const strongest = strongestLevel(histogram, levels.length);
  if (strongest < Math.max(MIN_CONTRAST, MIN_SIGNAL * noise)) {
    return { contrast: new Uint8Array(levels.length), mask: new Uint8Array(levels.length), width, height };
  }
  const separating = Math.max(otsuThreshold(histogram), FAINTEST * strongest, EDGE_NOISE * noise);
  const threshold = Math.min(separating, strongest / 2);
  const brightened = Uint8Array.from(histogram, (_, level) => round(Math.min((level * MAX_GRAY) / strongest, MAX_GRAY)));
  brightened.fill(0, 0, Math.trunc(EDGE_NOISE * noise) + 1);
  const mask = new Uint8Array(levels.length);
  for (let i = 0; i < levels.length; i++) {
    mask[i] = levels[i] > threshold ? 1 : 0;
    levels[i] = brightened[levels[i]];
  }
  return { contrast: levels, mask, width, height };
}

/** Return the rounded means over squares, with the rounding of Pillow; those at the right and bottom may be incomplete. */
export function reduce({ data, width, height }, scale) {
  if (scale === 1) return { data, width, height };
  const columns = Math.ceil(width / scale), rows = Math.ceil(height / scale);
  const sums = new Float64Array(columns * rows);
  for (let y = 0, i = 0; y < height; y++) {
    const offset = Math.floor(y / scale) * columns;
    for (let x = 0; x < width; x++) sums[offset + Math.floor(x / scale)] += data[i++];
  }
  const result = new Uint8Array(columns * rows);
  for (let i = 0; i < result.length; i++) {
    const x = i % columns, y = Math.floor(i / columns);
    const count = (Math.min(width, (x + 1) * scale) - x * scale) * (Math.min(height, (y + 1) * scale) - y * scale);
    result[i] = Math.floor(((sums[i] + (count >> 1)) * Math.floor(2 ** 24 / count)) / 2 ** 24);
  }
  return { data: result, width: columns, height: rows };
}

/** Return the contrast of strokes as if on white paper in gray levels, and its noise. */
function subtractBackground({ data, width, height }) {
  const size = Math.max(1, Math.floor(Math.min(width, height) / GRID));
  const cells = reduce({ data, width, height }, size);
  const sign = findPolarity(cells);
  const signed = { ...cells, data: Float32Array.from(cells.data, (value) => sign * value) };
  const level = open(signed);
  const border = borderOf({ data, width, height });
  const middle = median(border);
  const borderSign = max(data) - middle >= middle - min(data) ? 1 : -1;
  const ring = borderOf(level);
  const agrees = max(ring) - min(ring) <= EVEN && borderSign === sign && Math.abs(sign * middle - median(ring)) <= EVEN;
  const difference = new Float32Array(data.length), contrast = new Float32Array(data.length);
  let typicalGain;
  if (agrees || (borderSign !== sign && border.filter((value) => value === middle).length > CLEAN * border.length)) {
    const paper = fround(MAX_GRAY * (borderSign > 0) - borderSign * middle);
    typicalGain = fround(MAX_GRAY / Math.max(paper, DARKEST));
    const background = fround(borderSign * middle);
    for (let i = 0; i < data.length; i++) {
      difference[i] = borderSign * data[i] - background;
      if (difference[i] > 0) contrast[i] = difference[i] * typicalGain;
    }
  } else {
    const enlarged = enlarge(level, width, height, size), gain = new Float32Array(data.length);
    for (let i = 0; i < data.length; i++) {
      difference[i] = sign * data[i] - enlarged[i];
      gain[i] = MAX_GRAY / Math.max(fround(MAX_GRAY * (sign > 0) - enlarged[i]), DARKEST);
      if (difference[i] > 0) contrast[i] = difference[i] * gain[i];
    }
    typicalGain = median(gain);
  }
  const sample = [];
  for (let y = 0; y < height; y += NOISE_STEP) {
    for (let x = 0; x < width; x += NOISE_STEP) sample.push(Math.abs(difference[y * width + x]));
  }
  return { contrast, noise: median(sample) * STD_PER_MEDIAN * typicalGain };
}

/** Return the pixels of the first and the last row and column. */
function borderOf({ data, width, height }) {
  const columns = Array.from({ length: height }, (_, y) => [data[y * width], data[(y + 1) * width - 1]]);
  return [...data.subarray(0, width), ...data.subarray((height - 1) * width), ...columns.flat()];
}

/** Return 1 if strokes are brighter than their surroundings, else -1. */
function findPolarity(cells) {
  const average = averageAround(cells);
  let sum = 0;
  cells.data.forEach((value, i) => { sum += ((value - average[i]) / MAX_GRAY) ** 3; });
  return sum < 0 ? -1 : 1;
}

/** Return the mean of the 15 x 15 cells around each cell. */
function averageAround({ data, width, height }) {
  const reach = Math.floor(SURROUNDINGS / 2);
  const average = (values, count, step, start) => {
    const sums = new Float64Array(count + 1);
    for (let i = 0; i < count; i++) sums[i + 1] = sums[i] + values[start + i * step];
    for (let i = 0; i < count; i++) {
      const first = Math.max(i - reach, 0), last = Math.min(i + reach + 1, count);
      values[start + i * step] = (sums[last] - sums[first]) / (last - first);
    }
  };
  const result = Float64Array.from(data);
  for (let x = 0; x < width; x++) average(result, height, width, x);
  for (let y = 0; y < height; y++) average(result, width, 1, y * width);
  return result;
}

/** Return the morphological opening with a square of 11 x 11 cells: without what is bright and narrower. */
function open(level) {
  return dilate(negate(dilate(negate(level))));
}

const negate = (level) => ({ ...level, data: level.data.map((value) => -value) });

/** Return the maximum over squares of 11 x 11 cells. */
function dilate({ data, width, height }) {
  const reach = Math.floor(WINDOW / 2);
  const along = (values, count, step, start) => Float32Array.from({ length: count }, (_, i) => {
    let largest = -Infinity;
    for (let j = Math.max(0, i - reach); j <= Math.min(count - 1, i + reach); j++) {
      largest = Math.max(largest, values[start + j * step]);
    }
    return largest;
  });
  const result = data.slice();
  for (let x = 0; x < width; x++) along(result, height, width, x).forEach((value, y) => { result[y * width + x] = value; });
  for (let y = 0; y < height; y++) result.set(along(result, width, 1, y * width), y * width);
  return { data: result, width, height };
}

/** Return the level of each pixel by bilinear interpolation between the cells' centers. */
function enlarge(level, width, height, size) {
  const rows = neighborsOf(height, level.height, size), columns = neighborsOf(width, level.width, size);
  const enlargedRow = new Float32Array(level.width), result = new Float32Array(width * height);
  rows.forEach(([first, second, weight], y) => {
    for (let x = 0; x < level.width; x++) {
      enlargedRow[x] = (1 - weight) * level.data[first * level.width + x] + weight * level.data[second * level.width + x];
    }
    columns.forEach(([left, right, part], x) => {
      result[y * width + x] = (1 - part) * enlargedRow[left] + part * enlargedRow[right];
    });
  });
  return result;
}

/** Return for each of `length` pixels the two of `count` cells between whose centers it is, and the second one's weight. */
function neighborsOf(length, count, size) {
  return Array.from({ length }, (_, i) => {
    const position = Math.min(Math.max(fround(fround((i + 0.5) / size) - 0.5), 0), count - 1);
    const first = Math.floor(position);
    return [first, Math.min(first + 1, count - 1), position - first];
  });
}

/** Return the level that only one in 512 pixels exceed, or of fewer pixels if the image has less ink. */
function strongestLevel(histogram, total) {
  const count = Math.max(1, round(total * STRONGEST));
  const above = histogram.slice();
  for (let level = LEVELS - 2; level >= 0; level--) above[level] += above[level + 1];
  const typical = above.findLastIndex((number) => number >= count);
  const highest = above.findLastIndex((number) => number >= Math.min(count, MIN_STRONGEST));
  return typical * 2 > highest ? typical : highest;
}

/** Return the level that separates the histogram into two classes with the largest variance between them. */
function otsuThreshold(histogram) {
  const below = histogram.slice(), mass = histogram.map((number, level) => number * level);
  for (let level = 1; level < LEVELS; level++) {
    below[level] += below[level - 1];
    mass[level] += mass[level - 1];
  }
  return argmax(below.map((number, level) => {
    const above = below[LEVELS - 1] - number;
    const variance = number * above * (mass[level] / number - (mass[LEVELS - 1] - mass[level]) / above) ** 2;
    return Number.isFinite(variance) ? variance : -1;
  }));
}
