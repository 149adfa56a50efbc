// The answer for the tab "Number": the number on each line, and a box around each digit.
import { describe, percent } from "./answer.js";

const REJECTED = "?";
const LABEL_HEIGHT = 0.1; // of the canvas: a label has space above a digit that is lower

/**
 * Make the view.
 *
 * @param {HTMLElement} root - the page
 * @param {(text: string, isDrawing: boolean) => void} announce - tells a screen reader something
 */
export function createNumbers(root, announce) {
  const find = (selector) => root.querySelector(selector);
  const list = find(".numbers"), boxes = find(".boxes"), status = find(".status"), time = find(".time");

  /**
   * Show the state of a prediction.
   *
   * @param {object} state - see predictor.js
   * @param {{isDrawing?: boolean}} options - whether the pen is down
   */
  function show(state, { isDrawing = false } = {}) {
    if (state.kind === "reading" && !list.hidden) return; // the earlier answer stays until there is another one
    const { numbers = [], width, height, milliseconds } = state;
    const text = numbers.length ? "" : describeNone(state, isDrawing);
    status.textContent = text;
    status.classList.toggle("quiet", isDrawing);
    find(".answer").classList.toggle("failed", state.kind === "error");
    time.textContent = milliseconds === undefined ? "" : ` · ${milliseconds.toFixed(1)} ms`;
    list.hidden = !numbers.length;
    list.classList.toggle("several", numbers.length > 1);
    list.replaceChildren(...numbers.map(itemOf));
    list.tabIndex = list.scrollHeight > list.clientHeight ? 0 : -1; // to scroll it with the keyboard
    boxes.replaceChildren(...numbers.flatMap(({ digits }) => digits.map((digit) => boxOf(digit, width, height))));
    announce(numbers.map((number) => `${number.text}, ${describeConfidence(number)}`).join("; ") || text, isDrawing);
  }

  return { show };
}

function describeNone(state, isDrawing) {
  if (state.kind !== "answer") return describe(state, isDrawing);
  return isDrawing ? "Not a number yet" : "That doesn't look like a number";
}

function describeConfidence({ text, confidence }) {
  return text.includes(REJECTED) ? `${REJECTED} doesn't look like a digit` : `${percent(confidence)} sure`;
}

function itemOf(number) {
  const item = document.createElement("li");
  const text = Object.assign(document.createElement("b"), { textContent: number.text });
  const confidence = Object.assign(document.createElement("span"), { textContent: describeConfidence(number) });
  item.append(text, " ", confidence);
  return item;
}

/** Return the box of a digit on an image of this size. */
function boxOf({ label, box: [left, top, right, bottom] }, width, height) {
  const box = document.createElement("span");
  box.dataset.label = label ?? REJECTED;
  box.classList.toggle("rejected", label === null);
  box.classList.toggle("high", top < LABEL_HEIGHT * height);
  Object.assign(box.style, {
    left: `${(100 * left) / width}%`,
    top: `${(100 * top) / height}%`,
    width: `${(100 * (right - left)) / width}%`,
    height: `${(100 * (bottom - top)) / height}%`,
  });
  return box;
}
