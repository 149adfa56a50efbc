// Numbers: find the lines of an image, classify all segments in one batch, and choose the best sequence of digits:
// digitnet/numbers/number.py, without ruled lines and form boxes.
import { around, max, median } from "./arrays.js";
import { findComponents } from "./components.js";
import { contract, number as constants } from "./constants.js";
import { crop } from "./crops.js";
import { findInk, reduce, toGray } from "./ink.js";
import { bestPath, calibrate, features, score } from "./lattice.js";
import { findLines } from "./layout.js";
import { cutLine, findSegments } from "./segments.js";

const { IMAGE_SIZE, NUM_CLASSES, REJECTED } = contract;
const { MAX_CANDIDATES, MAX_COMPONENTS, COARSE_PIXELS, FINE_PIXELS, SMALL_DIGIT, MIN_PROBABILITY, MAX_REJECTED } = constants;
const { REJECTED_TEXT } = constants;

/** There are too many candidates for digits on a line. */
export class CandidatesError extends Error {}

/**
 * Find all numbers in an image.
 *
 * @param {ImageData} image - RGBA
 * @param {(images: Uint8Array, count: number) => Promise<{probabilities: Float32Array, labels: Int32Array}>} classify -
 *     returns ten probabilities and the label of each image of 28 x 28 gray levels, -1 if it is rejected
 * @returns {Promise<{text: string, confidence: number,
 *     digits: {label: number|null, confidence: number, box: number[]}[]}[]>} the number on each line, from top to bottom
 * @throws {CandidatesError}
 */
export async function findNumbers(image, classify) {
  const { scale, ink, components, lines } = findLayout(toGray(image));
  const candidates = lines.map((line) => {
    const pieces = cutLine(ink, components, line);
    checkCount(pieces);
    return { pieces, segments: findSegments(pieces) };
  });
  const crops = candidates.flatMap(({ pieces, segments }) => segments.map((segment) => crop(pieces, segment)));
  if (!crops.length) return [];
  const images = new Uint8Array(crops.length * IMAGE_SIZE ** 2);
  crops.forEach((pixels, i) => images.set(pixels, i * IMAGE_SIZE ** 2));
  const { probabilities, labels } = await classify(images, crops.length);
  let start = 0;
  const numbers = candidates.map(({ pieces, segments }) => {
    const outputs = segments.map((_, i) => ({
      probabilities: probabilities.slice((start + i) * NUM_CLASSES, (start + i + 1) * NUM_CLASSES),
      label: labels[start + i],
    }));
    start += segments.length;
    return choose(pieces, segments, outputs, scale);
  });
  return numbers.filter(({ text, digits }) => text.split(REJECTED_TEXT).length - 1 < MAX_REJECTED * digits.length);
}

/** Find the lines in a reduced image and, if their digits are small, again in a larger one. */
function findLayout(gray) {
  const [coarse, fine] = [COARSE_PIXELS, FINE_PIXELS].map((pixels) => Math.ceil(Math.sqrt(gray.data.length / pixels)));
  const layout = findLayoutAt(gray, coarse);
  const heights = layout.lines.map(({ height }) => height);
  const isSmall = !heights.length || median(heights) < SMALL_DIGIT;
  return fine < coarse && isSmall ? findLayoutAt(gray, fine) : layout;
}

/** Find the lines of an image that is reduced by `scale`. */
function findLayoutAt(gray, scale) {
  const ink = findInk(reduce(gray, scale));
  const components = findComponents(ink.mask, ink.width, ink.height);
  return { scale, ink, components, lines: components.areas.length <= MAX_COMPONENTS ? findLines(components) : [] };
}

function checkCount({ component }) {
  const count = new Set(component).size;
  if (count > MAX_CANDIDATES) {
    throw new CandidatesError(`There is too much on one line: at most ${MAX_CANDIDATES} digits are read. Erase some of it.`);
  }
}

/** Return the number that the best sequence of segments forms. */
function choose(pieces, segments, outputs, scale) {
  const scores = segments.map((segment, i) => score(features(pieces, segment, outputs[i].probabilities, outputs[i].label)));
  const path = bestPath(segments, scores, pieces.boxes.length);
  const chosen = path.indices.map((i) => ({ ...segments[i], ...outputs[i], confidence: max(outputs[i].probabilities) }));
  const doubtful = findDoubtful(chosen, pieces, path);
  const digits = chosen.map(({ label, confidence, start, stop }, i) => ({
    label: label === REJECTED || doubtful.has(i) ? null : label,
    confidence,
    box: boxOf(pieces, start, stop, scale),
  }));
  const text = digits.map(({ label }) => label ?? REJECTED_TEXT).join("");
  const probability = chosen.reduce((product, { confidence }) => product * confidence, path.probability);
  return { text, digits, confidence: text.includes(REJECTED_TEXT) ? 0 : calibrate(probability) };
}

/** Return which of the chosen segments are parts of a cut component that is probably a letter. */
function findDoubtful(chosen, pieces, path) {
  const groups = new Map();
  chosen.forEach(({ start }, i) => {
    const component = pieces.component[start];
    groups.set(component, [...(groups.get(component) ?? []), i]);
  });
  const doubtful = [...groups.values()].filter((parts) => {
    const probability = parts.reduce((product, i) => product * chosen[i].confidence, path.probability);
    const isRejected = parts.some((i) => chosen[i].label === REJECTED);
    return parts.length > 1 && (isRejected || calibrate(probability) < MIN_PROBABILITY);
  });
  return new Set(doubtful.flat());
}

/** Return the box of a segment in the image. */
function boxOf({ boxes, left, top, scale: inner }, start, stop, scale) {
  return around(boxes.slice(start, stop)).map((value, side) => (value * inner + (side % 2 ? top : left)) * scale);
}
