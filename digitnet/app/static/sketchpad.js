// The tab to draw on. canvas.js precedes this script.
const canvas = element.querySelector("canvas"), undo = element.querySelector(".undo");
const clear = element.querySelector(".clear"), width = element.querySelector(".width");
const IMAGE_SIZE = 280; // pixels of the image that is classified
const INTERVAL = 100; // milliseconds between two predictions while drawing
const EMPTY = { label: null, probabilities: [], blank: true, image: "" };
let prediction = EMPTY;

const sketchpad = createSketchpad(canvas, {
  getPenWidth: () => width.value / 100,
  onChange() {
    updateButtons();
    classify();
  },
});

function updateButtons() {
  const losesFocus = sketchpad.isEmpty() && [undo, clear].includes(document.activeElement);
  undo.disabled = clear.disabled = sketchpad.isEmpty();
  if (losesFocus) width.focus(); // otherwise the keyboard focus would be lost with the disabled button
}

// Only one request runs at a time. Later changes are classified after it, so the last prediction is for the whole
// drawing.
let waiting = false, changed = false, lastRequest = 0;
async function classify() {
  changed = true;
  document.dispatchEvent(new CustomEvent("digitnet-request"));
  if (waiting) return;
  waiting = true;
  while (changed) {
    const pause = sketchpad.isDrawing() ? lastRequest + INTERVAL - performance.now() : 0;
    if (pause > 0) await new Promise((resume) => setTimeout(resume, pause));
    changed = false;
    lastRequest = performance.now();
    const copy = document.createElement("canvas");
    sketchpad.paint(copy, IMAGE_SIZE);
    const image = sketchpad.isEmpty() ? "" : copy.toDataURL("image/png");
    try {
      prediction = { ...(await server.classify(image)), image };
    } catch {
      prediction = { image };
    }
    if (canvas.offsetParent) announce(); // the other tab may be displayed by now
  }
  waiting = false;
}

function announce() {
  document.dispatchEvent(new CustomEvent("digitnet-prediction", { detail: { ...prediction, outdated: changed } }));
}

undo.addEventListener("click", sketchpad.undo);
clear.addEventListener("click", sketchpad.clear);
document.addEventListener("keydown", (event) => {
  const isUndo = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z";
  if (!isUndo || sketchpad.isDrawing() || !canvas.offsetParent) return;
  if (event.target.matches?.("textarea, [type=text]")) return;
  event.preventDefault();
  if (!sketchpad.isEmpty()) sketchpad.undo();
});

// Show the prediction of this tab again whenever the tab is displayed.
new IntersectionObserver(([entry]) => entry.isIntersecting && announce()).observe(canvas);
