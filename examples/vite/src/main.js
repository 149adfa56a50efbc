// The page: one prediction at a time, and another one if the drawing has changed in the meantime.
import { createCanvas } from "../../../digitnet/app/static/canvas.js";
import { Painter } from "../../../digitnet/app/static/painting.js";
import { DigitClassifier } from "./classifier.js";

const IMAGE_SIZE = 280; // pixels: side of the image that is classified
const PEN_WIDTH = 0.065; // as a fraction of the side

const classifier = new DigitClassifier();
const painter = new Painter(), copy = document.createElement("canvas");
const digit = document.querySelector("#digit"), status = document.querySelector("#status");
let running = false, changed = false;

const { drawing, refresh } = createCanvas(document.querySelector("#sketchpad"), {
  getPenWidth: () => PEN_WIDTH,
  onChange: update,
});
document.querySelector("#clear").addEventListener("click", () => {
  drawing.clear();
  refresh();
});
window.classifier = classifier; // to try it in the browser's console
update();

async function update() {
  changed = true;
  if (running) return;
  running = true;
  try {
    while (changed) {
      changed = false;
      painter.paint(copy, drawing.strokes, IMAGE_SIZE);
      show(await classifier.classify(copy.getContext("2d").getImageData(0, 0, IMAGE_SIZE, IMAGE_SIZE)));
    }
  } catch (error) {
    status.textContent = `The model cannot be loaded: ${error.message}`;
  } finally {
    running = false;
  }
}

function show({ label, probabilities }) {
  const text = label < 0 ? "–" : String(label);
  if (digit.textContent !== text) digit.textContent = text; // screen readers announce only changes
  status.textContent = label < 0 ? "Ready: nothing recognized yet." : `Probability: ${probabilities[label].toFixed(3)}`;
}
