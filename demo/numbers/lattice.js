// Lattice: the most probable sequence of segments of a line, and its probability: digitnet/numbers/lattice.py.
import { around, max, range } from "./arrays.js";
import { contract, lattice as constants } from "./constants.js";

const { REJECTED } = contract;
const { MIN_PROBABILITY, WEIGHTS, SMALLEST, CALIBRATION_SLOPE, CALIBRATION_OFFSET, SHORT, TALL, WIDE_SEGMENT } = constants;
const { VERY_WIDE, NARROW, MIDDLE_WIDTH, MIDDLE, MIDDLE_CUT, CHEAP_CUT, TYPICAL_INK, ONE } = constants;
const MIN_AREA = 1e-3; // as a fraction of the typical one

/**
 * Combine the probabilities of the model and of the verifier for a segment that was cut off.
 *
 * @param {object} pieces - see segments.js
 * @param {{start: number, stop: number}} segment
 * @param {{probabilities: Float32Array, verified: number[]}} candidate - what the networks say
 * @returns {number[]} the probability of each digit; that of the model for a whole component
 */
export function combine({ cut }, { start, stop }, { probabilities, verified }) {
  if (!(start && cut[start - 1] > 0) && !(cut[stop - 1] > 0)) return [...probabilities];
  const mean = Array.from(probabilities, (probability, digit) =>
    Math.sqrt(Math.max(probability, MIN_PROBABILITY)) * Math.exp(verified[digit] / 2));
  const sum = mean.reduce((total, value) => total + value, 0);
  return mean.map((value) => value / sum);
}

/**
 * Describe a segment by numbers with the names of WEIGHTS; lengths are fractions of the height of the line.
 *
 * @param {object} pieces - see segments.js
 * @param {{start: number, stop: number}} segment
 * @param {{probabilities: Float32Array, label: number, verified: number[]}} candidate - what the networks say
 * @param {number} digit - the most probable digit
 * @returns {Object<string, number>}
 */
export function features(pieces, segment, { probabilities, label, verified }, digit) {
  const { height, cut } = pieces, { start, stop } = segment;
  const boxes = pieces.boxes.slice(start, stop);
  const [left, top, right, bottom] = around(boxes);
  const before = start ? cut[start - 1] : 0, after = stop < pieces.boxes.length ? cut[stop - 1] : 0;
  const inside = cut.slice(start, stop - 1).map((ink) => ink / height);
  const gaps = range(1, boxes.length).map((i) => boxes[i][0] - max(boxes.slice(0, i).map((box) => box[2])));
  const area = pieces.areas.slice(start, stop).reduce((sum, pixels) => sum + pixels, 0);
  const width = (right - left) / height, ownHeight = Math.max(bottom - top, 1) / height;
  return {
    "segment": 1,
    "log probability": Math.log(Math.max(probabilities[digit], MIN_PROBABILITY)),
    "verified": Math.max(verified[digit], Math.log(MIN_PROBABILITY)),
    "rejected": Number(label === REJECTED),
    "short": Math.max(0, SHORT - ownHeight),
    "tall": Math.max(0, ownHeight - TALL),
    "wide": Math.max(0, width - WIDE_SEGMENT),
    "very wide": Math.max(0, width - VERY_WIDE),
    "narrow": digit === ONE ? 0 : Math.max(0, NARROW - width),
    "cuts": (before > 0) + (after > 0),
    "ink on cuts": (before + after) / height,
    "cheap cuts inside": inside.reduce((sum, ink) => sum + (ink > 0 ? Math.max(0, CHEAP_CUT - ink) : 0), 0),
    "cheap cut in the middle": cheapestMiddle(pieces, segment, left, right),
    "gap inside": gaps.length ? Math.max(0, max(gaps)) / height : 0,
    "components": new Set(pieces.component.slice(start, stop)).size - 1,
    "faint": Math.max(0, -Math.log(Math.max(area / height ** 2 / TYPICAL_INK, MIN_AREA))),
  };
}

/** Return how little ink a cut in the middle of a wide segment crosses, from 0 for much to MIDDLE_CUT. */
function cheapestMiddle({ boxes, cut, height }, { start, stop }, left, right) {
  const width = right - left;
  if (width < MIDDLE_WIDTH * height) return 0;
  let best = MIDDLE_CUT;
  for (let i = start; i < stop - 1; i++) {
    const place = ((boxes[i][2] + boxes[i + 1][0]) / 2 - left) / width;
    if (Math.abs(place - 0.5) <= MIDDLE) best = Math.min(best, cut[i] / height);
  }
  return MIDDLE_CUT - best;
}

/** Return the score of a segment with these features; a higher score is better. */
export function score(values) {
  return Object.entries(WEIGHTS).reduce((sum, [name, weight]) => sum + weight * values[name], 0);
}

/** Return the calibrated probability that a number is correct. */
export function calibrate(probability) {
  const clipped = Math.min(Math.max(probability, SMALLEST), 1 - SMALLEST);
  const logit = CALIBRATION_SLOPE * Math.log(clipped / (1 - clipped)) + CALIBRATION_OFFSET;
  return 1 / (1 + Math.exp(-logit));
}

/**
 * Find the sequence of segments with the highest score.
 *
 * @param {{start: number, stop: number}[]} segments - sorted by their starts
 * @param {number[]} scores
 * @param {number} count - number of pieces
 * @returns {{indices: number[], probability: number}} its segments, and its probability among all sequences
 */
export function bestPath(segments, scores, count) {
  const best = Array(count + 1).fill(-Infinity), total = Array(count + 1).fill(-Infinity), last = [];
  best[0] = total[0] = 0;
  segments.forEach(({ start, stop }, i) => {
    if (best[start] + scores[i] > best[stop]) [best[stop], last[stop]] = [best[start] + scores[i], i];
    total[stop] = logAddExp(total[stop], total[start] + scores[i]);
  });
  const indices = [];
  for (let node = count; node > 0; node = segments[last[node]].start) indices.unshift(last[node]);
  return { indices, probability: Math.exp(best[count] - total[count]) };
}

function logAddExp(a, b) {
  const [low, high] = a < b ? [a, b] : [b, a];
  return high === -Infinity ? high : high + Math.log1p(Math.exp(low - high));
}
