// "Teach": the model is adapted to the saved corrections on the server, and the page may use the new one.
import { BackendError } from "./backend.js";

const POLL_AFTER = 1000; // milliseconds
const percent = (fraction, digits = 1) => `${(100 * fraction).toFixed(digits)}\u00a0%`; // the space does not break

/**
 * Make the controls.
 *
 * @param {HTMLElement} element
 * @param {{status: Function, start: Function, cancel: Function, use: Function}} teaching - of the back end; all return
 *     promises of the status that digitnet/app/teaching.py documents
 * @param {() => void} onModelChange - called when another model classifies
 * @returns {{update: (model: string) => void}} update must be called with the model of each prediction
 */
export function createTeaching(element, teaching, onModelChange) {
  const find = (selector) => element.querySelector(selector);
  const teach = find(".teach"), cancel = find(".cancel"), use = find(".use"), text = find(".teaching-text");
  const progress = find("progress");
  const introduction = text.textContent;
  let inUse = null, timer = null;

  function pollLater() {
    clearTimeout(timer);
    timer = setTimeout(() => request(teaching.status), POLL_AFTER);
  }

  function show(status) {
    const isRunning = status.state === "running";
    const hadFocus = [teach, cancel].includes(document.activeElement);
    teach.hidden = isRunning;
    cancel.hidden = progress.hidden = !isRunning;
    progress.value = status.fraction ?? 0;
    use.hidden = isRunning || !status.adapted;
    use.textContent = status.in_use === "adapted" ? "Go back to the original model" : "Use the adapted model";
    use.dataset.model = status.in_use === "adapted" ? "original" : "adapted";
    text.textContent = describe(status);
    if (inUse !== null && inUse !== status.in_use) onModelChange();
    inUse = status.in_use;
    if (isRunning) pollLater();
    if (hadFocus) (isRunning ? cancel : teach).focus(); // the button that had the focus is hidden
  }

  function describe({ state, stage, fraction, error, scores, in_use: model }) {
    if (state === "running") return `${stage} (${percent(fraction, 0)})`;
    if (state === "failed") return error;
    if (state === "cancelled") return "Cancelled. Nothing has changed.";
    const note = model === "adapted" ? "The adapted model is in use." : introduction;
    if (state !== "done") return note;
    const results = Object.entries(scores ?? {}).map(([name, [before, after]]) =>
      `${name}: ${percent(accuracy(before))} before, ${percent(accuracy(after))} after`);
    return `${results.join("; ")}. ${model === "adapted" ? note : ""}`;
  }

  const accuracy = ({ images, errors }) => (images ? 1 - errors / images : 0);

  async function request(call, ...values) {
    try {
      show(await call(...values));
    } catch (error) {
      const { cause, message } = BackendError.of(error);
      text.textContent = message;
      if (!progress.hidden || cause === "refused") pollLater(); // it may run in another tab of the browser
    }
  }

  teach.addEventListener("click", () => request(teaching.start));
  cancel.addEventListener("click", () => request(teaching.cancel));
  use.addEventListener("click", () => request(teaching.use, use.dataset.model));
  element.classList.remove("starting");
  request(teaching.status);

  return {
    update(model) {
      if (model && inUse && model !== inUse) request(teaching.status); // another tab of the browser has changed it
    },
  };
}
