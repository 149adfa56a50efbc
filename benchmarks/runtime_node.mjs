// Predicts each input with onnxruntime-node or onnxruntime-web: node runtime_node.mjs PACKAGE MODEL INPUTS
// INPUTS is JSON: [{type, shape, data (base64)}]. The package is found from the current directory. Prints JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [name, model, inputs] = process.argv.slice(2);
const require = createRequire(`${process.cwd()}/`);
const { default: ort } = await import(pathToFileURL(require.resolve(name)));
if (ort.env.wasm) ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(readFileSync(model), { intraOpNumThreads: 1 });
const images = JSON.parse(readFileSync(inputs)).map(({ type, shape, data }) => {
  const bytes = new Uint8Array(Buffer.from(data, "base64"));
  return new ort.Tensor(type, type === "uint8" ? bytes : new Float32Array(bytes.buffer), shape);
});
const predict = (image) => session.run({ [session.inputNames[0]]: image }, ["probabilities", "label"]);
for (const image of images.slice(0, 3)) await predict(image);
const results = { probabilities: [], labels: [], times: [], version: "" };
results.version = JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version;
for (const image of images) {
  const start = performance.now();
  const { probabilities, label } = await predict(image);
  results.times.push(performance.now() - start);
  results.probabilities.push([...probabilities.data]);
  results.labels.push(label.data[0]);
}
console.log(JSON.stringify(results));
