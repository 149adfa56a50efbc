// Explanations of predictions in a page without a server: the same as of digitnet/app/explanation.py, from its files.

const IMAGE_SIZE = 28, NUM_PIXELS = IMAGE_SIZE ** 2;
const PATCH = 5, STRIDE = 2; // framed pixels: side of the blanked patch, and distance of two patches
const STARTS = Array.from({ length: IMAGE_SIZE / STRIDE }, (_, index) => index * STRIDE - 1);
const BATCH_SIZE = 8; // of larger batches, each image takes longer
const IMAGES_PER_DIGIT = 100, NEIGHBORS = 6;
const ACTIVATIONS = ["maps1", "maps2", "dense", "logits", "probabilities"];

/**
 * Create an explainer. It loads its files at the first explanation.
 *
 * @param {object} ort - the module onnxruntime-web
 * @param {{framing: string, activations: string, trainingImages: string}} urls - of the files
 * @returns {(image: ImageData) => Promise<object>} explains the prediction for an image
 */
export function createExplainer(ort, urls) {
  let loading = null;
  return async (image) => {
    loading ??= load(ort, urls).catch((error) => {
      loading = null; // the next explanation tries again
      throw error;
    });
    return explain(ort, await loading, image);
  };
}

async function load(ort, urls) {
  const [framing, activations, images] = await Promise.all([
    ort.InferenceSession.create(urls.framing),
    ort.InferenceSession.create(urls.activations),
    loadTrainingImages(urls.trainingImages),
  ]);
  const run = async (framed) => {
    const shape = [framed.length / NUM_PIXELS, IMAGE_SIZE, IMAGE_SIZE];
    // A copy, because onnxruntime-web moves the pixels to its worker if it has one.
    return activations.run({ framed: new ort.Tensor("float32", framed.slice(), shape) });
  };
  const dense = await runBatches(run, images.map((image) => Float32Array.from(image, (gray) => gray / 255)), "dense");
  return { framing, run, images, directions: dense.map(normalize) };
}

async function loadTrainingImages(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: status ${response.status}`);
  const sheet = await createImageBitmap(await response.blob(), { colorSpaceConversion: "none" });
  const canvas = Object.assign(document.createElement("canvas"), { width: sheet.width, height: sheet.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(sheet, 0, 0);
  const images = [];
  for (let top = 0; top < sheet.height; top += IMAGE_SIZE) {
    for (let left = 0; left < sheet.width; left += IMAGE_SIZE) {
      const { data } = context.getImageData(left, top, IMAGE_SIZE, IMAGE_SIZE);
      images.push(data.filter((_, index) => index % 4 === 0));
    }
  }
  return images;
}

/** Run the network on framed digits, a few at a time, and return one of its outputs for each. */
async function runBatches(run, framed, output) {
  const results = [];
  for (let start = 0; start < framed.length; start += BATCH_SIZE) {
    const batch = framed.slice(start, start + BATCH_SIZE), joined = new Float32Array(batch.length * NUM_PIXELS);
    batch.forEach((pixels, index) => joined.set(pixels, index * NUM_PIXELS));
    const { data } = (await run(joined))[output], length = data.length / batch.length;
    batch.forEach((_, index) => results.push(data.slice(index * length, (index + 1) * length)));
  }
  return results;
}

async function explain(ort, model, { data, width, height }) {
  const image = new ort.Tensor("uint8", data, [1, height, width, 4]);
  const { framed: { data: framed }, box, square } = await model.framing.run({ image });
  if (!framed.some((ink) => ink > 0)) return { blank: true };
  const outputs = await model.run(framed);
  const [dense, logits, probabilities] = ACTIVATIONS.slice(2).map((name) => [...outputs[name].data]);
  const digit = probabilities.indexOf(Math.max(...probabilities));
  return {
    blank: false,
    digit,
    size: [height, width],
    box: [...box.data],
    square: [...square.data],
    framed: toGrayLevels(framed, 1),
    maps: ACTIVATIONS.slice(0, 2).map((name) => {
      const { dims: [, ...shape], data: values } = outputs[name];
      return { shape, values: toGrayLevels(values, values.reduce((largest, value) => Math.max(largest, value), 0)) };
    }),
    dense,
    logits,
    probabilities,
    occlusion: await occlude(model.run, framed, digit, probabilities[digit]),
    neighbors: findNeighbors(model, dense),
  };
}

/** Return the mean drop of the probability over the patches that cover each pixel. */
async function occlude(run, framed, digit, probability) {
  const patches = [], blanked = [];
  const total = new Array(NUM_PIXELS).fill(0), count = new Array(NUM_PIXELS).fill(0);
  for (const top of STARTS) {
    for (const left of STARTS) {
      const patch = pixelsOfPatch(top, left);
      for (const index of patch) count[index] += 1;
      if (!patch.some((index) => framed[index] > 0)) continue; // a patch without ink changes nothing
      patches.push(patch);
      blanked.push(framed.map((ink, index) => (patch.includes(index) ? 0 : ink)));
    }
  }
  const results = await runBatches(run, blanked, "probabilities");
  patches.forEach((patch, number) => {
    for (const index of patch) total[index] += probability - results[number][digit];
  });
  return total.map((drop, index) => drop / count[index]);
}

/** Return the indices of the pixels in a patch, which may extend beyond the image. */
function pixelsOfPatch(top, left) {
  const indices = [];
  for (let y = Math.max(0, top); y < Math.min(IMAGE_SIZE, top + PATCH); y++) {
    for (let x = Math.max(0, left); x < Math.min(IMAGE_SIZE, left + PATCH); x++) indices.push(y * IMAGE_SIZE + x);
  }
  return indices;
}

/** Return the training images whose dense activations have the most similar direction. */
function findNeighbors({ directions, images }, dense) {
  const similarity = directions.map((direction) => direction.reduce((sum, value, i) => sum + value * dense[i], 0));
  const order = similarity.map((_, index) => index).sort((a, b) => similarity[b] - similarity[a]);
  return order.slice(0, NEIGHBORS).map((index) => ({
    label: Math.floor(index / IMAGES_PER_DIGIT),
    values: [...images[index]],
  }));
}

function normalize(values) {
  const length = Math.hypot(...values);
  return values.map((value) => value / length);
}

/** Return values from 0 to `maximum` as integers from 0 to 255. */
function toGrayLevels(values, maximum) {
  return Array.from(values, (value) => Math.round(value * 255 / Math.max(maximum, 1e-6)));
}
