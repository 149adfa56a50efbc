// The back end that classifies in the browser, with onnxruntime-web. It gives the same answers as server.js.
import { BackendError } from "./backend.js";
import { createExplainer } from "./explainer.js";
import { CandidatesError, findNumbers } from "./number.js";
import * as ort from "./ort.wasm.bundle.min.mjs";

const IMAGE_SIZE = 28; // pixels: side of the framed digit
const MESSAGES = {
  gone: "The model can't be loaded. Trying again…",
  timeout: "The model is still loading…",
  invalid: "This file isn't a picture that can be opened. Try PNG, JPEG, GIF, BMP or WebP.", // browsers open no TIFF
};

/** Make the back end. It starts to load the model, and has no `save`. */
export function createBrowserBackend() {
  const urlOf = (name) => new URL(name, import.meta.url).href;
  const explainImage = createExplainer(ort, {
    framing: urlOf("framing.onnx"),
    activations: urlOf("digitnet.activations.onnx"),
    trainingImages: urlOf("training_images.png"),
  });
  let loading = null;

  async function load() {
    ort.env.wasm.numThreads = 1; // more threads need a server that sends cross-origin isolation headers
    ort.env.wasm.proxy = true; // in a worker, so that drawing does not wait for an explanation
    const [runtime, model] = await Promise.all([
      fetchFile(urlOf("ort-wasm-simd-threaded.wasm.gzip")).then(decompress),
      fetchFile(urlOf("digitnet.onnx")).then((response) => response.arrayBuffer()),
    ]);
    ort.env.wasm.wasmBinary = runtime;
    return ort.InferenceSession.create(model);
  }

  /** Return a promise of the session, which is rejected if `signal` aborts before it is loaded. */
  function loaded(signal) {
    loading ??= load().catch(() => {
      loading = null; // the next call tries again
      throw new BackendError("gone", MESSAGES.gone);
    });
    return new Promise((resolve, reject) => {
      loading.then(resolve, reject);
      signal?.addEventListener("abort", () => {
        const isTimeout = signal.reason?.name === "TimeoutError";
        reject(isTimeout ? new BackendError("timeout", MESSAGES.timeout) : signal.reason);
      });
    });
  }

  async function classify(blob, signal) {
    const { data, width, height } = await decode(blob);
    const session = await loaded(signal);
    const start = performance.now();
    const image = new ort.Tensor("uint8", data, [1, height, width, 4]);
    const { label, probabilities, framed } = await session.run({ image }, ["label", "probabilities", "framed"]);
    return {
      label: label.data[0] < 0 ? null : label.data[0],
      probabilities: [...probabilities.data],
      blank: !framed.data.some((ink) => ink > 0),
      framed: toDataUri(framed.data),
      milliseconds: performance.now() - start,
    };
  }

  async function read(blob, signal) {
    const pixels = await decode(blob);
    const session = await loaded(signal);
    const start = performance.now();
    const numbers = await findNumbers(pixels, async (images, shape) => {
      const image = new ort.Tensor("uint8", images, shape);
      const { label, probabilities } = await session.run({ image }, ["label", "probabilities"]);
      return { labels: label.data, probabilities: probabilities.data };
    }).catch((error) => {
      throw error instanceof CandidatesError ? new BackendError("invalid", error.message) : error;
    });
    return { numbers, width: pixels.width, height: pixels.height, milliseconds: performance.now() - start };
  }

  async function explain(blob) {
    const image = await decode(blob);
    await loaded();
    try {
      return await explainImage(image);
    } catch {
      throw new BackendError("gone", "The files of the explanation can't be loaded.");
    }
  }

  return { classify, read, explain, loaded: loaded() };
}

async function fetchFile(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: status ${response.status}`);
  return response;
}

/** Return the content of a compressed file: many static hosts compress no WebAssembly. */
function decompress(response) {
  return new Response(response.body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** Return the pixels of an image file. */
async function decode(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" }).catch(() => {
    throw new BackendError("invalid", MESSAGES.invalid);
  });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/** Return a framed digit as a PNG file. */
function toDataUri(framed) {
  const canvas = Object.assign(document.createElement("canvas"), { width: IMAGE_SIZE, height: IMAGE_SIZE });
  const context = canvas.getContext("2d"), pixels = context.createImageData(IMAGE_SIZE, IMAGE_SIZE);
  framed.forEach((ink, index) => {
    const gray = Math.round(255 * ink);
    pixels.data.set([gray, gray, gray, 255], 4 * index);
  });
  context.putImageData(pixels, 0, 0);
  return canvas.toDataURL();
}
