// Connects the parts of the page: page.html has the elements, page.css their style.
import { createAnswer } from "./answer.js";
import { paintOnce } from "./painting.js";
import { createImageTab } from "./image.js";
import { createNumbers } from "./numbers.js";
import { createRecent } from "./recent.js";
import { createSketchpad, enlarge } from "./sketchpad.js";
import { createTabs } from "./tabs.js";

const THUMBNAIL_SIZE = 128; // pixels
const LOADING = "Loading the model…";
const EMPTY_TEXT = {
  "tab-draw": "Draw a digit to begin",
  "tab-number": "Draw a number to begin",
  "tab-image": "No image yet",
};
const NUMBER_HEADING = "Draw a number";
const SKETCHPAD = { storageKey: "digitnet-strokes", imageSize: 280, adjust: enlarge };
const NUMBER_SKETCHPAD = { storageKey: "digitnet-number-strokes", imageSize: 400, aspect: 2 };
const UNEXPLAINED = {
  "tab-draw": "Draw a digit to see how the network decides.",
  "tab-image": "Choose an image to see how the network decides.",
  error: "Without a prediction, there is nothing to explain.",
};

/**
 * Start the page.
 *
 * @param {HTMLElement} root - contains the elements of page.html
 * @param {object} backend - see backend.js
 * @param {{description: string, directory?: string, examples: string}} options - texts about the model and about
 *     where corrections are stored, and the address of the examples
 */
export function start(root, backend, { description, directory = "", examples }) {
  applyTheme();
  const find = (selector) => root.querySelector(selector);
  find(".description").textContent = description;
  find(".directory").textContent = directory;

  const answer = createAnswer(root, backend);
  const numbers = createNumbers(root, answer.announce);
  const heading = find("h1"), headingText = heading.textContent;
  const recent = createRecent(find(".recent"));
  const tabs = createTabs(root, (id) => {
    if (id === "tab-image") imageTab.open();
    else imageTab.stopCamera(); // nobody is filmed while another tab is displayed
    find(".digitnet").classList.toggle("for-numbers", id === "tab-number");
    heading.textContent = id === "tab-number" ? NUMBER_HEADING : headingText;
    showState(id);
  });

  function showState(id) {
    if (tabs.selected !== id || !inputs[id]) return; // the prediction of another tab, or the page is not complete
    const { predictor, isDrawing = false } = inputs[id];
    let { state } = predictor;
    if (state.kind === "empty") state = { text: isLoading ? LOADING : EMPTY_TEXT[id], ...state };
    if (state.kind === "reading" && isLoading) state = { ...state, text: LOADING };
    if (id === "tab-number") return numbers.show(state, { isDrawing });
    answer.show(state, { isDrawing, isCurrent: predictor.isCurrent });
    if (!["waiting", "reading"].includes(state.kind)) explain(state, UNEXPLAINED[state.kind] ?? UNEXPLAINED[id]);
  }

  // Modules that are not needed before the first answer are loaded with it, and again with the next one after a failure.
  const loadTeaching = loader(backend.teaching && (async () => {
    const { createTeaching } = await import("./teaching.js");
    return createTeaching(find(".teaching"), backend.teaching, () => {
      for (const { predictor } of Object.values(inputs)) predictor.update();
    });
  }));
  const loadExplanation = loader(backend.explain && (async () => {
    const { createExplanation } = await import("./explanation.js");
    addStyle("explanation.css");
    return createExplanation(find(".explanation-panel"), backend);
  }));
  let hasAnswer = false;
  async function explain({ blob = null, model }, hint) {
    hasAnswer ||= Boolean(blob);
    if (!hasAnswer) return;
    loadTeaching().then((teaching) => blob && teaching?.update(model));
    (await loadExplanation())?.update(blob, hint);
  }

  let isLoading = Boolean(backend.loaded);
  backend.loaded?.finally(() => {
    isLoading = false;
    showState(tabs.selected);
  }).catch(() => {}); // the first prediction reports it

  const inputs = {};
  let lastRemoved = null;
  function addSketchpad(id, panel, classify, options) {
    const sketchpad = createSketchpad(find(panel), classify, {
      ...options,
      onState: () => showState(id),
      onChange: answer.disableCorrection,
      onRemove(strokes, state) {
        if (strokes === lastRemoved) return; // it was brought back by Undo and cleared again
        lastRemoved = strokes;
        recent.add(paintOnce(strokes, THUMBNAIL_SIZE, options.aspect), state, () => {
          tabs.select(id);
          if (strokes === lastRemoved) lastRemoved = null; // it is no longer in the strip
          sketchpad.bringBack(strokes);
        });
      },
      announce: answer.announceNow,
    });
    inputs[id] = sketchpad;
  }
  addSketchpad("tab-draw", "#panel-draw", backend.classify, SKETCHPAD);
  addSketchpad("tab-number", "#panel-number", backend.read, NUMBER_SKETCHPAD);
  const imageTab = createImageTab(find("#panel-image"), backend, {
    examples,
    onState: () => showState("tab-image"),
    async onReplace(blob, state) {
      const url = URL.createObjectURL(blob);
      // Of an image that only the server can open, the network's input.
      const image = await decode(url) ?? (state.framed && await decode(state.framed));
      URL.revokeObjectURL(url);
      if (image) recent.add(image, state, () => showImage(blob));
    },
  });
  inputs["tab-image"] = imageTab;
  find(".teaching").hidden = !backend.teaching;
  for (const id of ["tab-draw", "tab-number"]) inputs[id].restore();
  showState(tabs.selected);

  function showImage(blob) {
    tabs.select("tab-image");
    imageTab.show(blob);
  }
  acceptFilesAnywhere(find(".drop-target"), showImage);
  find(".start").hidden = true;
  find(".digitnet").classList.remove("starting");
}

/** Return the image at an address; null if the browser cannot open it. */
async function decode(address) {
  const image = Object.assign(new Image(), { src: address });
  return image.decode().then(() => image, () => null);
}

/** Use the colors that the address asks for, as on other pages of Gradio: ?__theme=dark or light. */
function applyTheme() {
  const theme = new URLSearchParams(location.search).get("__theme");
  if (!["dark", "light"].includes(theme)) return;
  const sheet = [...document.styleSheets].find(({ href }) => href?.endsWith("/page.css"));
  for (const { media } of sheet?.cssRules ?? []) {
    if (media?.mediaText.includes("prefers-color-scheme")) media.mediaText = theme === "dark" ? "all" : "not all";
  }
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

/** Return a function that loads something once, or again after a failure; null without something to load. */
function loader(load) {
  let loaded = null;
  return () => {
    loaded ??= load ? load().catch(() => { loaded = null; }) : Promise.resolve(null);
    return loaded;
  };
}

function addStyle(name) {
  const href = new URL(name, import.meta.url);
  document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
}
