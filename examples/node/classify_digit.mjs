// Classifies an image of a digit: node classify_digit.mjs image.png [model.onnx]
// onnxruntime-web runs as WebAssembly: it has half the size of onnxruntime-node and no native code. If speed matters, use
// onnxruntime-node, which is two to six times faster and loads in a tenth of the time; only the import has to change.
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";
import { PNG } from "pngjs";

ort.env.wasm.numThreads = 1; // for a single image, starting threads takes longer than the prediction

const [path, model = new URL("../../checkpoints/release/digitnet.onnx", import.meta.url)] = process.argv.slice(2);
const { data, width, height } = PNG.sync.read(readFileSync(path)); // always RGBA with 8 bits
const session = await ort.InferenceSession.create(readFileSync(model)); // a server creates it once
const image = new ort.Tensor("uint8", data, [1, height, width, 4]); // of any size, not cropped: the model frames it
const { label, probabilities } = await session.run({ image }, ["label", "probabilities"]);
console.log(JSON.stringify({ label: label.data[0], probabilities: [...probabilities.data] }));
