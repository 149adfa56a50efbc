// Numbers: find the lines of an image, classify all segments in one batch, and choose the best sequence of digits:
// digitnet/numbers/number.py, without ruled lines and form boxes.
import { argmax, around, max, median } from "./arrays.js";
import { findComponents } from "./components.js";
import { contract, number as constants, verifier as verifierConstants } from "./constants.js";
import { crop } from "./crops.js";
import { findInk, reduce, toGray } from "./ink.js";
import { bestPath, calibrate, combine, features, score } from "./lattice.js";
import { findLines } from "./layout.js";
import { cutLine, findSegments } from "./segments.js";
import { verify } from "./verifier.js";

const { IMAGE_SIZE, NUM_CLASSES, REJECTED } = contract;
const { MAX_CANDIDATES, MAX_COMPONENTS, COARSE_PIXELS, FINE_PIXELS, SMALL_DIGIT, MAX_REJECTED, REJECTED_TEXT } = constants;
const { MIN_WHOLE, MIN_VERIFIED, MAX_NON_DIGIT, MAX_SINGLE_WIDTH, MIN_CERTAIN } = constants;
const { NON_DIGIT } = verifierConstants;

/** There are too many candidates for digits on a line. */
export class CandidatesError extends Error {}

/**
 * Find all numbers in an image.
 *
 * @param {ImageData} image - RGBA
 * @param {(images: Uint8Array, shape: number[]) => Promise<{probabilities: Float32Array, labels: Int32Array}>} classify -
 *     returns ten probabilities and the label of each image, -1 if it is rejected; shape: number, height, width, channels
 * @returns {Promise<{text: string, confidence: number,
 *     digits: {label: number|null, confidence: number, box: number[]}[]}[]>} the number on each line, from top to bottom
 * @throws {CandidatesError}
 */
export async function findNumbers(image, classify) {
  const { scale, ink, components, lines } = findLayout(toGray(image));
  const candidates = lines.map((line) => {
    const pieces = cut(ink, components, line);
    return { pieces, segments: findSegments(pieces) };
  });
  const crops = candidates.flatMap(({ pieces, segments }) => segments.map((segment) => crop(pieces, segment)));
  if (!crops.length) return [];
  const images = new Uint8Array(crops.length * IMAGE_SIZE ** 2);
  crops.forEach((pixels, i) => images.set(pixels, i * IMAGE_SIZE ** 2));
  const { probabilities, labels } = await classify(images, [crops.length, IMAGE_SIZE, IMAGE_SIZE, 1]);
  let start = 0;
  const numbers = candidates.map(({ pieces, segments }) => {
    const outputs = segments.map((_, i) => ({
      probabilities: probabilities.slice((start + i) * NUM_CLASSES, (start + i + 1) * NUM_CLASSES),
      label: labels[start + i],
      verified: verify(crops[start + i]),
    }));
    start += segments.length;
    return choose(pieces, segments, outputs, scale);
  });
  if (numbers.length === 1 && !lines[0].marks) numbers[0] = await compareWithWhole(numbers[0], image, classify);
  return numbers.filter(({ text, digits }) => text.split(REJECTED_TEXT).length - 1 < MAX_REJECTED * digits.length);
}

/** Return a number, or the digit that the model predicts for the whole image if it may show a single digit. */
async function compareWithWhole(number, { data, width, height }, classify) {
  const box = around(number.digits.map((digit) => digit.box)), [left, top, right, bottom] = box;
  if (right - left > MAX_SINGLE_WIDTH * (bottom - top)) return number;
  const { probabilities, labels } = await classify(new Uint8Array(data), [1, height, width, 4]);
  const isRejected = labels[0] === REJECTED, probability = max(probabilities), confidence = calibrate(probability);
  const isCertain = number.confidence >= Math.min(MIN_CERTAIN, confidence);
  if (number.digits.length > 1 && (isRejected || isCertain)) return number;
  const digit = { label: isRejected ? null : labels[0], confidence: probability, box };
  return { text: isRejected ? REJECTED_TEXT : String(labels[0]), digits: [digit], confidence: isRejected ? 0 : confidence };
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

/** Cut the components of a line, except those that the verifier takes for one whole digit. */
function cut(ink, components, line) {
  const uncut = cutLine(ink, components, line, line.members);
  checkCount(uncut);
  const whole = uncut.component.filter((_, i) => {
    return max(verify(crop(uncut, { start: i, stop: i + 1 })).slice(0, NON_DIGIT)) > Math.log(MIN_WHOLE);
  });
  return whole.length === uncut.component.length ? uncut : cutLine(ink, components, line, whole);
}

function checkCount({ component }) {
  const count = new Set(component).size;
  if (count > MAX_CANDIDATES) {
    throw new CandidatesError(`There is too much on one line: at most ${MAX_CANDIDATES} digits are read. Erase some of it.`);
  }
}

/** Return the number that the best sequence of segments forms. */
function choose(pieces, segments, outputs, scale) {
  const candidates = segments.map((segment, i) => {
    const combined = combine(pieces, segment, outputs[i]);
    return { ...segment, ...outputs[i], digit: argmax(combined), confidence: max(combined) };
  });
  const scores = candidates.map((candidate) => score(features(pieces, candidate, candidate, candidate.digit)));
  const path = bestPath(segments, scores, pieces.boxes.length);
  const chosen = path.indices.map((i) => candidates[i]), rejected = findRejected(chosen, pieces);
  const digits = chosen.map(({ digit, confidence, start, stop }, i) => ({
    label: rejected[i] ? null : digit, confidence, box: boxOf(pieces, start, stop, scale),
  }));
  const text = digits.map(({ label }) => label ?? REJECTED_TEXT).join("");
  const probability = chosen.reduce((product, { confidence }) => product * confidence, path.probability);
  return { text, digits, confidence: text.includes(REJECTED_TEXT) ? 0 : calibrate(probability) };
}

/** Return which of the chosen segments are non-digits; the parts of a component are accepted or rejected together. */
function findRejected(chosen, { component }) {
  return chosen.map(({ label, verified, start }) => {
    const parts = chosen.filter((other) => component[other.start] === component[start]);
    if (parts.length === 1) return label === REJECTED || verified[NON_DIGIT] > Math.log(MAX_NON_DIGIT);
    return parts.reduce((sum, part) => sum + part.verified[part.digit], 0) / parts.length < MIN_VERIFIED;
  });
}

/** Return the box of a segment in the image. */
function boxOf({ boxes, left, top, scale: inner }, start, stop, scale) {
  return around(boxes.slice(start, stop)).map((value, side) => (value * inner + (side % 2 ? top : left)) * scale);
}
