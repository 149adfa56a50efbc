// The panel "How does it decide?": the steps from a drawing to the probabilities, what the network looks at, and
// similar training images. digitnet/app/explanation.py documents the explanation that the back end returns.
import { percent } from "./answer.js";
import { BackendError, RETRY_AFTER } from "./backend.js";

const IMAGE_SIZE = 28; // pixels: side of the framed digit
const BOX = 20; // framed pixels: longer side of the digit
const DRAWING_SIZE = 280; // pixels: longer side of the copy of the drawing
const MAP_COLUMNS = 8; // feature maps in a row of the small grid
const LINE = [112, 112, 112]; // between feature maps
const BOX_COLOR = "#d9480f";
const DROP_COLOR = [217, 72, 15], RISE_COLOR = [28, 100, 242]; // orange where the probability drops, else blue
const MAX_OVERLAY = 0.8; // opacity of the strongest drop
const MIN_SCALE = 0.02; // a change of the probability that is small: below it, the overlay is faint
const FADED = 0.4; // opacity of the drawing below the overlay
const BLANK = "There is too little ink to recognize, and nothing to explain.";

const PANEL = `
<details class="explanation">
  <summary><h2>How does it decide?</h2></summary>
  <p class="e-message" role="status"></p>
  <button type="button" class="e-retry" hidden>Try again</button>
  <ol class="e-steps" hidden>
    <li><h3>1. Find the digit</h3>
      <p>Everything that differs clearly from the background is ink; the box is around it.</p>
      <canvas class="e-found e-square e-drawing" role="img"></canvas></li>
    <li><h3>2. Scale it</h3>
      <p>The longer side of the box becomes 20 pixels.</p>
      <canvas class="e-scaled e-square e-ink" role="img" aria-label="The digit, scaled to 20 pixels"></canvas></li>
    <li><h3>3. Center it</h3>
      <p>Its center of mass moves to the middle of 28 × 28 pixels. The network sees only these.</p>
      <canvas class="e-framed e-square e-ink" role="img" aria-label="The framed digit, 28 by 28 pixels"></canvas></li>
    <li><h3>4. Look for strokes</h3>
      <p>Each of 32 filters marks the places where it finds its kind of edge or stroke.</p></li>
    <li><h3>5. Combine them</h3>
      <p>Each of 64 filters marks the places where strokes form its kind of larger shape.</p></li>
    <li><h3>6. Summarize</h3>
      <p>128 numbers say how strongly combinations of these shapes are present in the whole image.</p>
      <div class="e-dense" role="img"></div></li>
    <li><h3>7. Decide</h3>
      <p>Each digit gets a score, the logit. The released model averages it over two copies of the image that are shifted
        by half a pixel. The scores become probabilities that add up to 100&nbsp;%.</p>
      <table><thead><tr><th scope="col">Digit</th><td></td><th scope="col">Logit</th><td></td>
        <th scope="col">Probability</th></tr></thead><tbody></tbody></table></li>
    <li><h3>What it looks at</h3>
      <p class="e-drop"></p>
      <canvas class="e-occlusion e-square e-drawing" role="img"></canvas></li>
    <li><h3>What it has seen before</h3>
      <p>Of 1,000 training images, these have the most similar 128 numbers. Below each is its label.</p>
      <ol class="e-neighbors"></ol></li>
  </ol>
</details>`;

/**
 * Add the panel to the page. It is closed; while it is closed, it sends no request. While one request runs, further
 * images wait, and only the last of them is explained.
 *
 * @param {Element} element - becomes the parent of the panel
 * @param {{explain: (blob: Blob) => Promise<object>}} backend - see backend.js
 * @returns {{update: (blob: Blob | null, hint: string) => void}} update must be called with each new image, or with
 *     null if there is none; `hint` is shown in place of its explanation
 */
export function createExplanation(element, backend) {
  element.insertAdjacentHTML("beforeend", PANEL);
  const panel = element.lastElementChild;
  const find = (selector) => panel.querySelector(selector);
  const steps = find(".e-steps"), message = find(".e-message"), retry = find(".e-retry");
  const show = createView(panel);
  let image = null, hint = "", isNew = false, isBusy = false, retryTimer = null;

  function showMessage(text, canRetry = false) {
    if (message.textContent !== text) message.textContent = text;
    retry.hidden = !canRetry;
    steps.hidden = true;
  }

  async function explain() {
    if (!panel.open || isBusy || !isNew) return;
    isNew = false;
    if (image === null) return showMessage(hint);
    isBusy = true;
    steps.setAttribute("aria-busy", "true");
    const explained = image;
    try {
      const [explanation, drawing] = await Promise.all([backend.explain(explained), copyDrawing(explained)]);
      if (explanation.blank) return showMessage(BLANK);
      show(explanation, drawing);
      showMessage("");
      steps.hidden = false;
    } catch (error) {
      if (!isNew) showError(BackendError.of(error));
    } finally {
      isBusy = false;
      steps.setAttribute("aria-busy", "false");
      explain();
    }
  }

  function showError({ message: text, isTransient }) {
    showMessage(text, true);
    if (isTransient) retryTimer = setTimeout(request, RETRY_AFTER);
  }

  function request() {
    clearTimeout(retryTimer);
    isNew = true;
    explain();
  }
  panel.addEventListener("toggle", request);
  retry.addEventListener("click", request);

  return {
    update(blob, newHint) {
      if (blob === image && newHint === hint && retry.hidden) return;
      [image, hint] = [blob, newHint];
      if (image === null) showMessage(hint);
      request();
    },
  };
}

/** Return a function that shows an explanation and the canvas with a copy of the drawing. */
function createView(panel) {
  const find = (selector) => panel.querySelector(selector);
  const items = panel.querySelectorAll(".e-steps > li");
  const layers = [createMaps(items[3], 32, "first"), createMaps(items[4], 64, "second")];
  const showDense = createDense(find(".e-dense"));
  const showTable = createTable(find("tbody"));

  return (explanation, drawing) => {
    const { digit, framed, maps, dense, logits, probabilities, neighbors } = explanation;
    paintFound(find(".e-found"), explanation, drawing);
    paintScaled(find(".e-scaled"), explanation);
    paintGray(find(".e-framed"), framed, IMAGE_SIZE, IMAGE_SIZE);
    layers.forEach((showMaps, index) => showMaps(maps[index]));
    showDense(dense);
    showTable(digit, logits, probabilities);
    find(".e-drop").textContent = describeOcclusion(explanation);
    paintOcclusion(find(".e-occlusion"), explanation, drawing);
    showNeighbors(find(".e-neighbors"), neighbors);
  };
}

/** Return a canvas with the image on white, at most 280 pixels per side; null if the browser cannot decode it. */
async function copyDrawing(blob) {
  const bitmap = await createImageBitmap(blob).catch(() => null);
  if (!bitmap) return null;
  const scale = Math.min(1, DRAWING_SIZE / Math.max(bitmap.width, bitmap.height));
  const canvas = createCanvas(Math.ceil(bitmap.width * scale), Math.ceil(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas;
}

function createCanvas(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

/** Paint the drawing and return the context and its scale: pixels of the canvas per pixel of the image. */
function paintDrawing(canvas, { size: [height, width] }, drawing, opacity = 1) {
  const scale = DRAWING_SIZE / Math.max(height, width);
  canvas.width = Math.ceil(width * scale);
  canvas.height = Math.ceil(height * scale);
  const context = canvas.getContext("2d");
  context.globalAlpha = opacity;
  if (drawing) context.drawImage(drawing, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = 1;
  return { context, scale };
}

function paintFound(canvas, explanation, drawing) {
  const { context, scale } = paintDrawing(canvas, explanation, drawing);
  const [top, left, bottom, right] = explanation.box;
  context.strokeStyle = BOX_COLOR;
  context.lineWidth = 3;
  context.strokeRect(left * scale, top * scale, (right - left) * scale, (bottom - top) * scale);
  const [height, width] = [bottom - top, right - left].map(Math.round);
  canvas.setAttribute("aria-label", `The drawing, with a box of ${width} by ${height} pixels around the digit`);
}

/** Paint the part of the framed digit that the box fills. */
function paintScaled(canvas, { box, square, framed }) {
  const pixel = (square[2] - square[0]) / IMAGE_SIZE; // pixels of the image
  const [top, left] = [0, 1].map((side) => Math.round((box[side] - square[side]) / pixel));
  const [height, width] = [0, 1].map((side) => Math.max(1, Math.ceil((box[side + 2] - box[side]) / pixel - 1e-3)));
  const gray = [];
  for (let y = 0; y < BOX; y++) {
    for (let x = 0; x < BOX; x++) {
      const isInside = y < height && x < width && top + y < IMAGE_SIZE && left + x < IMAGE_SIZE;
      gray.push(isInside ? framed[(top + y) * IMAGE_SIZE + left + x] : 0);
    }
  }
  paintGray(canvas, gray, BOX, BOX);
}

/** Paint gray levels, or the part of an array that starts at `offset`, one pixel each. */
function paintGray(canvas, values, width, height, offset = 0) {
  paintPixels(canvas, width, height, (index) => {
    const gray = values[offset + index];
    return [gray, gray, gray, 255];
  });
}

function paintPixels(canvas, width, height, colorOf) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
  for (let index = 0; index < width * height; index++) pixels.data.set(colorOf(index), 4 * index);
  context.putImageData(pixels, 0, 0);
}

/** Add the feature maps of a layer, as a button that opens a dialog with larger ones, and return their view. */
function createMaps(item, count, layer) {
  const name = `${count} feature maps of the ${layer} layer`;
  item.insertAdjacentHTML("beforeend", `
    <button type="button" class="e-enlarge" aria-haspopup="dialog" aria-label="Enlarge the ${name}">
      <canvas></canvas><span>Enlarge</span></button>
    <dialog aria-label="The ${name}"><header><h3>The ${name}</h3>
      <button type="button" class="e-close">Close</button></header>
      <div class="e-maps">${"<div><canvas role=\"img\"></canvas></div>".repeat(count)}</div></dialog>`);
  const sheet = item.querySelector(".e-enlarge canvas"), dialog = item.querySelector("dialog");
  const canvases = [...dialog.querySelectorAll(".e-maps canvas")];
  canvases.forEach((canvas, index) => {
    canvas.setAttribute("aria-label", `Feature map ${index + 1}`);
    canvas.after(String(index + 1));
  });
  let maps = null;

  const paintDialog = () => {
    const [, height, width] = maps.shape;
    canvases.forEach((canvas, index) => paintGray(canvas, maps.values, width, height, index * height * width));
  };
  item.querySelector(".e-enlarge").addEventListener("click", () => {
    paintDialog();
    dialog.showModal();
  });
  item.querySelector(".e-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target !== dialog) return;
    const box = dialog.getBoundingClientRect(); // a click on its padding is inside, one on the backdrop is not
    const isInside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top &&
      event.clientY <= box.bottom;
    if (!isInside) dialog.close();
  });

  return (newMaps) => {
    maps = newMaps;
    paintSheet(sheet, maps);
    if (dialog.open) paintDialog();
  };
}

/** Paint all feature maps side by side, with lines between them. */
function paintSheet(canvas, { shape: [count, height, width], values }) {
  const columns = MAP_COLUMNS * (count > 32 ? 2 : 1), rows = Math.ceil(count / columns);
  const sheetWidth = columns * (width + 1) + 1;
  paintPixels(canvas, sheetWidth, rows * (height + 1) + 1, (index) => {
    const x = index % sheetWidth, y = Math.floor(index / sheetWidth);
    const column = x % (width + 1) - 1, row = y % (height + 1) - 1;
    if (column < 0 || row < 0) return [...LINE, 255];
    const map = Math.floor(y / (height + 1)) * columns + Math.floor(x / (width + 1));
    const gray = values[(map * height + row) * width + column];
    return [gray, gray, gray, 255];
  });
}

function createDense(element) {
  return (dense) => {
    if (element.children.length !== dense.length) {
      element.replaceChildren(...Array.from(dense, () => document.createElement("i")));
    }
    const largest = Math.max(...dense, 1e-6);
    dense.forEach((value, index) => element.children[index].style.setProperty("--size", value / largest));
    const active = dense.filter((value) => value > 0).length;
    element.setAttribute("aria-label", `${active} of ${dense.length} activations are above zero`);
  };
}

function createTable(body) {
  for (let digit = 0; digit < 10; digit++) {
    body.insertAdjacentHTML("beforeend", `<tr><th scope="row">${digit}</th>${
      "<td class=\"e-bar\" aria-hidden=\"true\"><span><i></i></span></td><td></td>".repeat(2)}</tr>`);
  }
  const setBar = (bar, start, end) => {
    bar.style.setProperty("--start", Math.min(start, end));
    bar.style.setProperty("--end", Math.max(start, end));
  };
  return (first, logits, probabilities) => {
    const low = Math.min(0, ...logits), range = Math.max(0, ...logits) - low || 1;
    [...body.rows].forEach((row, digit) => {
      const [, logitBar, logit, probabilityBar, probability] = row.cells;
      setBar(logitBar.querySelector("i"), -low / range, (logits[digit] - low) / range);
      logit.textContent = logits[digit].toFixed(1).replace("-", "−");
      setBar(probabilityBar.querySelector("i"), 0, probabilities[digit]);
      probability.textContent = percent(probabilities[digit]);
      row.classList.toggle("e-first", digit === first);
    });
  };
}

function describeOcclusion({ digit, probabilities, occlusion }) {
  const before = probabilities[digit], lowest = before - Math.max(0, ...occlusion);
  const rise = Math.min(...occlusion) < -MIN_SCALE ? " Where it is blue, the probability rises." : "";
  return `Where it is orange, erasing 5 × 5 pixels lowers the probability of ${digit}, in the worst place from ${
    percent(before)} to ${percent(lowest)}.${rise}`;
}

/** Paint the mean drop at each framed pixel over the drawing. */
function paintOcclusion(canvas, explanation, drawing) {
  const { context, scale } = paintDrawing(canvas, explanation, drawing, FADED);
  const { square: [top, left, bottom, right], occlusion } = explanation;
  const strongest = Math.max(MIN_SCALE, ...Array.from(occlusion, Math.abs));
  const overlay = createCanvas(IMAGE_SIZE, IMAGE_SIZE);
  paintPixels(overlay, IMAGE_SIZE, IMAGE_SIZE, (index) => {
    const drop = occlusion[index], opacity = MAX_OVERLAY * Math.abs(drop) / strongest;
    return [...(drop > 0 ? DROP_COLOR : RISE_COLOR), 255 * opacity];
  });
  context.drawImage(overlay, left * scale, top * scale, (right - left) * scale, (bottom - top) * scale);
  canvas.setAttribute("aria-label", `The drawing and where it matters: ${describeOcclusion(explanation)}`);
}

function showNeighbors(list, neighbors) {
  if (list.children.length !== neighbors.length) {
    list.innerHTML = "<li><canvas class=\"e-ink\" role=\"img\"></canvas><span aria-hidden=\"true\"></span></li>".repeat(
      neighbors.length);
  }
  neighbors.forEach(({ label, values }, index) => {
    const [canvas, text] = list.children[index].children;
    paintGray(canvas, values, IMAGE_SIZE, IMAGE_SIZE);
    canvas.setAttribute("aria-label", `A training image of a ${label}`);
    text.textContent = label;
  });
}
