// Verifier: a small network that tells crops with exactly one whole digit from others: digitnet/numbers/verifier.py.
import { contract, verifier as constants, verifierWeights } from "./constants.js";
import { max, range } from "./arrays.js";

const { STRIDE, MAX_LEVEL } = constants;
const { IMAGE_SIZE } = contract;
const weights = verifierWeights.map(({ shape, scale, values }) => ({
  shape, data: Float32Array.from(atob(values), (character) => ((character.charCodeAt(0) << 24) >> 24) * scale),
}));

/**
 * Estimate which digit a crop shows, and whether it shows exactly one.
 *
 * @param {Uint8Array} crop - 28 x 28 gray levels
 * @returns {number[]} the log-probability of each digit and of a non-digit
 */
export function verify(crop) {
  let values = { data: Float32Array.from(crop, (level) => level / MAX_LEVEL), channels: 1, size: IMAGE_SIZE };
  for (const layer of [0, 2]) values = convolve(values, weights[layer], weights[layer + 1]);
  const hidden = multiply(values.data, weights[4], weights[5]).map((value) => Math.max(value, 0));
  const logits = multiply(hidden, weights[6], weights[7]);
  const largest = max(logits);
  const sum = Math.log(logits.reduce((total, logit) => total + Math.exp(logit - largest), 0));
  return logits.map((logit) => logit - largest - sum);
}

/** Return a convolution without padding, without the negative values. */
function convolve({ data, channels, size }, { shape: [count, , kernel], data: weight }, bias) {
  const length = Math.floor((size - kernel) / STRIDE) + 1, result = new Float32Array(count * length * length);
  for (let channel = 0, place = 0; channel < count; channel++) {
    for (let y = 0; y < length; y++) {
      for (let x = 0; x < length; x++, place++) {
        let sum = bias.data[channel];
        for (let input = 0, index = channel * channels * kernel * kernel; input < channels; input++) {
          for (let row = 0; row < kernel; row++) {
            const start = (input * size + y * STRIDE + row) * size + x * STRIDE;
            for (let column = 0; column < kernel; column++, index++) sum += weight[index] * data[start + column];
          }
        }
        result[place] = Math.max(sum, 0);
      }
    }
  }
  return { data: result, channels: count, size: length };
}

/** Return a matrix times a vector, plus a bias. */
function multiply(values, { shape: [rows, columns], data }, bias) {
  return range(0, rows).map((row) => {
    let sum = bias.data[row];
    for (let column = 0; column < columns; column++) sum += data[row * columns + column] * values[column];
    return sum;
  });
}
