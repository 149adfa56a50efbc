// The answer for the tab that is displayed, and its correction.
import { BackendError } from "./backend.js";

const ANNOUNCE_AFTER = 700; // milliseconds without a change, until a screen reader speaks
const DASH = "–";
const NUM_CLASSES = 10;

const withArticle = (digit) => `${digit === 8 ? "an" : "a"} ${digit}`;

/** Return a probability as text. It is never 100 %, though it may be rounded to that. */
export function percent(probability) {
  if (probability >= 0.9995) return ">99.9\u00a0%"; // the space does not break
  return `${(100 * probability).toFixed(1)}\u00a0%`;
}

/** Return the text below the digit. */
export function describe(state, isDrawing) {
  switch (state.kind) {
    case "empty": return state.text;
    case "waiting": return "";
    case "reading": return state.text ?? "Reading…";
    case "error": return state.message;
  }
  if (state.blank) return isDrawing ? "" : "Too little ink to recognize";
  if (state.label === null) return isDrawing ? "Not a digit yet" : "That doesn't look like a digit";
  return `${percent(state.probabilities[state.label])} sure`;
}

/**
 * Make the view.
 *
 * @param {HTMLElement} root - the page
 * @param {object} backend - see backend.js
 */
export function createAnswer(root, backend) {
  const find = (selector) => root.querySelector(selector);
  const digit = find(".digit"), status = find(".status"), framed = find(".framed"), time = find(".time");
  const announcement = find(".announcement"), saved = find(".saved");
  const blankImage = blackImage();
  let shown = { kind: "empty", text: "" }, announceTimer = null;

  const bars = Array.from({ length: NUM_CLASSES }, (_, label) => {
    const row = document.createElement("li");
    row.innerHTML = `<b>${label}</b><i></i><span></span>`;
    return find(".bars").appendChild(row);
  });
  const buttons = Array.from({ length: NUM_CLASSES }, (_, label) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: label, disabled: true });
    button.setAttribute("aria-label", `It is ${withArticle(label)}`);
    button.addEventListener("click", () => save(label));
    return find(".digits").appendChild(button);
  });
  find(".correction").hidden = !backend.save;
  framed.src = blankImage;

  /**
   * Show the state of a prediction.
   *
   * @param {object} state - see predictor.js
   * @param {{isDrawing?: boolean, isCurrent?: boolean}} options - whether the pen is down, and whether the answer is of
   *     the present image
   */
  function show(state, { isDrawing = false, isCurrent = false } = {}) {
    if (state.blob !== shown.blob) saved.textContent = "";
    shown = state;
    const hasBars = state.kind === "answer" && !state.blank;
    const label = state.kind === "answer" ? state.label : null;
    digit.textContent = label ?? DASH;
    status.textContent = describe(state, isDrawing);
    find(".answer").classList.toggle("failed", state.kind === "error");
    status.classList.toggle("quiet", isDrawing && label === null);
    bars.forEach((bar, i) => {
      bar.className = i === label ? "first" : "";
      bar.children[1].style.setProperty("--fraction", `${hasBars ? 100 * state.probabilities[i] : 0}%`);
      bar.children[2].textContent = hasBars ? percent(state.probabilities[i]) : "";
    });
    framed.src = state.framed ?? blankImage;
    time.textContent = state.milliseconds === undefined ? "" : ` · ${state.milliseconds.toFixed(1)} ms`;
    setCorrectable(hasBars && isCurrent && !isDrawing);
    announce(describeAloud(state, label), isDrawing);
  }

  /** Speak once after a pause, and not while the pen is down. */
  function announce(text, isDrawing = false) {
    clearTimeout(announceTimer);
    if (isDrawing) return;
    announceTimer = setTimeout(() => {
      if (announcement.textContent !== text) announcement.textContent = text;
    }, ANNOUNCE_AFTER);
  }

  /** Speak at once, for example where the keyboard's cursor is. */
  function announceNow(text) {
    clearTimeout(announceTimer);
    announcement.textContent = text;
  }

  function describeAloud(state, label) {
    const text = describe(state, false);
    return label === null ? text : `${label}, ${text}`;
  }

  // A drawing that has changed cannot be corrected before it is classified: the previous image would be saved.
  function setCorrectable(isCorrectable) {
    for (const button of buttons) button.disabled = !isCorrectable;
  }

  async function save(label) {
    const { blob } = shown;
    let text;
    setCorrectable(false);
    saved.textContent = "Saving…";
    try {
      await backend.save(blob, label);
      text = `Saved as ${withArticle(label)}.`;
    } catch (error) {
      text = `Not saved. ${BackendError.of(error).message}`;
    }
    if (shown.blob !== blob) return;
    saved.textContent = text;
    setCorrectable(true);
  }

  return { show, announce, announceNow, disableCorrection: () => setCorrectable(false) };
}

function blackImage() {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 28;
  canvas.getContext("2d").fillRect(0, 0, 28, 28);
  return canvas.toDataURL();
}
