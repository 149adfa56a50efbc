// Runs the model, so that drawing does not wait for it.
import * as ort from "onnxruntime-web/wasm"; // the build without GPU, which has half the size
import modelUrl from "../../../checkpoints/release/digitnet.onnx?url";

ort.env.wasm.numThreads = 1; // more threads need a server that sends cross-origin isolation headers
const loading = ort.InferenceSession.create(modelUrl);

addEventListener("message", async ({ data: { id, rgba, width, height } }) => {
  try {
    const session = await loading;
    const image = new ort.Tensor("uint8", rgba, [1, height, width, 4]); // of any size, not cropped: the model frames it
    const { label, probabilities } = await session.run({ image }, ["label", "probabilities"]);
    postMessage({ id, label: label.data[0], probabilities: [...probabilities.data] });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
});
