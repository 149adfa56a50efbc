// Connects the parts of the page: page.html has the elements, page.css their style.
import { createAnswer } from "./answer.js";
import { paintOnce } from "./painting.js";
import { createImageTab } from "./image.js";
import { createRecent } from "./recent.js";
import { createSketchpad } from "./sketchpad.js";
import { createTabs } from "./tabs.js";

const THUMBNAIL_SIZE = 128; // pixels
const EMPTY_TEXT = { "tab-draw": "Draw a digit to begin", "tab-image": "No image yet" };

/**
 * Start the page.
 *
 * @param {HTMLElement} root - contains the elements of page.html
 * @param {object} backend - see backend.js
 * @param {{description: string, directory?: string, examples: string}} options - texts about the model and about
 *     where corrections are stored, and the address of the examples
 */
export function start(root, backend, { description, directory = "", examples }) {
  const find = (selector) => root.querySelector(selector);
  find(".description").textContent = description;
  find(".directory").textContent = directory;

  const answer = createAnswer(root, backend);
  const recent = createRecent(find(".recent"));
  const tabs = createTabs(root, (id) => {
    if (id === "tab-image") imageTab.open();
    else imageTab.stopCamera(); // nobody is filmed while the other tab is displayed
    showState(id);
  });

  function showState(id) {
    if (tabs.selected !== id || !inputs[id]) return; // the prediction of the other tab, or the page is not complete
    const { predictor, isDrawing = false } = inputs[id];
    const state = predictor.state.kind === "empty" ? { kind: "empty", text: EMPTY_TEXT[id] } : predictor.state;
    answer.show(state, { isDrawing, isCurrent: predictor.isCurrent });
    explain(state.kind === "answer" ? state.blob : null);
  }

  // What nobody needs before the first answer is loaded with it.
  let later = null;
  async function explain(blob) {
    if (!later && !blob) return;
    later ??= loadLater();
    const { explanation } = await later;
    explanation?.update(blob);
  }

  async function loadLater() {
    if (backend.teaching) {
      const { createTeaching } = await import("./teaching.js");
      createTeaching(find(".teaching"), backend.teaching, () => {
        for (const { predictor } of Object.values(inputs)) predictor.update();
      });
    }
    return { explanation: backend.explain && (await loadExplanation(find(".explanation-panel"), backend)) };
  }

  const inputs = {};
  const sketchpad = createSketchpad(find("#panel-draw"), backend, {
    onState: () => showState("tab-draw"),
    onChange: answer.disableCorrection,
    onClear(strokes, state) {
      recent.add(paintOnce(strokes, THUMBNAIL_SIZE), state, () => {
        tabs.select("tab-draw");
        sketchpad.show(strokes);
      });
    },
    announce: answer.announceNow,
  });
  const imageTab = createImageTab(find("#panel-image"), backend, {
    examples,
    onState: () => showState("tab-image"),
    async onReplace(blob, state) {
      const image = await createImageBitmap(blob).catch(() => null);
      if (image) recent.add(image, state, () => showImage(blob));
    },
  });
  Object.assign(inputs, { "tab-draw": sketchpad, "tab-image": imageTab });
  find(".teaching").hidden = !backend.teaching;
  sketchpad.restore();
  showState(tabs.selected);

  function showImage(blob) {
    tabs.select("tab-image");
    imageTab.show(blob);
  }
  acceptFilesAnywhere(find(".drop-target"), showImage);
  find(".digitnet").classList.remove("starting");
}

/** Accept an image that is pasted or dropped anywhere on the page. */
function acceptFilesAnywhere(target, accept) {
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  document.addEventListener("dragover", (event) => {
    event.preventDefault(); // the browser would open the file, and the drawing would be lost
    target.hidden = !hasFiles(event);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) target.hidden = true; // the pointer has left the window
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    target.hidden = true;
    const [file] = event.dataTransfer.files;
    if (file) accept(file);
  });
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])][0];
    if (!file) return;
    event.preventDefault();
    accept(file);
  });
}

async function loadExplanation(element, backend) {
  const style = document.createElement("link");
  Object.assign(style, { rel: "stylesheet", href: new URL("explanation.css", import.meta.url) });
  document.head.append(style);
  const { createExplanation } = await import("./explanation.js");
  return createExplanation(element, backend);
}
