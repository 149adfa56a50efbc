// Classifies an image that changes: one request at a time, and another one if the image has changed in the meantime.
import { BackendError, RETRY_AFTER } from "./backend.js";

const INTERVAL = 80; // milliseconds between two requests while drawing
const READING_AFTER = 300; // milliseconds without an answer, until the page says so
const STALE_AFTER = 2000; // milliseconds, after which a request for an earlier image is given up

const STOPPED = "stopped"; // why a request is given up without another one

const sleep = (milliseconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });

/** Return a signal that aborts with another one or after a time. AbortSignal.any is missing in Safari before 17.4. */
function withTimeout(signal, milliseconds) {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new DOMException("No answer", "TimeoutError")), milliseconds);
  signal.addEventListener("abort", () => { clearTimeout(timer); controller.abort(signal.reason); }, { once: true });
  return controller.signal;
}

/**
 * Make a predictor.
 *
 * States of the prediction: {kind: "empty"}, {kind: "waiting"} after another image was chosen, {kind: "reading"} if an
 * answer takes long, {kind: "answer", ...the back end's answer, blob}, {kind: "error", cause, message, retrying}.
 *
 * @param {(blob: Blob, signal: AbortSignal) => Promise<object>} classify - the back end's function, see backend.js
 * @param {{getImage: () => Promise<Blob|null>, isDrawing?: () => boolean, timeout: number,
 *     onState: (state: object) => void}} options - `timeout` in milliseconds
 */
export function createPredictor(classify, { getImage, isDrawing = () => false, timeout, onState }) {
  let state = { kind: "empty" }, changed = false, running = false, lastRequest = -Infinity;
  let readingTimer = null, staleTimer = null, attempt = new AbortController();

  function setState(next) {
    state = next;
    onState(state);
  }

  function expectAnswer() {
    readingTimer ??= setTimeout(() => setState({ kind: "reading" }), READING_AFTER);
  }

  function answered() {
    clearTimeout(readingTimer);
    clearTimeout(staleTimer);
    readingTimer = staleTimer = null;
  }

  /** Give up the present request and show no answer: another image is being prepared. */
  function prepare() {
    stop();
    setState({ kind: "waiting" });
    expectAnswer();
  }

  function stop() {
    changed = false;
    answered();
    attempt.abort(STOPPED);
  }

  /** Show a text instead of an answer. */
  function pause(text) {
    stop();
    setState({ kind: "empty", text });
  }

  /** Show an error that was found before the request. */
  function fail(message) {
    stop();
    setState({ kind: "error", cause: "invalid", message, retrying: false });
  }

  /** Classify the image, because it has changed. */
  function update() {
    changed = true;
    if (!state.retrying) expectAnswer(); // a retried error is shown until there is an answer
    if (!running) return run();
    const current = attempt; // not one that starts in the meantime
    staleTimer ??= setTimeout(() => current.abort(), STALE_AFTER);
  }

  async function run() {
    running = true;
    while (changed) {
      if (isDrawing()) await sleep(lastRequest + INTERVAL - performance.now());
      changed = false;
      lastRequest = performance.now();
      attempt = new AbortController();
      await request(attempt.signal);
    }
    running = false;
  }

  /** Classify the present image instead of that of an aborted request. */
  function giveUp(signal) {
    clearTimeout(staleTimer);
    staleTimer = null;
    changed ||= signal.reason !== STOPPED;
  }

  async function request(signal) {
    try {
      const blob = await getImage();
      const answer = blob && (await classify(blob, withTimeout(signal, timeout)));
      if (signal.aborted) return giveUp(signal);
      answered();
      setState(blob ? { kind: "answer", ...answer, blob } : { kind: "empty" });
      if (changed) expectAnswer();
    } catch (error) {
      if (signal.aborted) return giveUp(signal);
      answered();
      const { cause, message, isTransient: retrying } = BackendError.of(error);
      const suffix = ["busy", "timeout"].includes(cause) ? " Trying again…" : "";
      setState({ kind: "error", cause, message: message + suffix, retrying });
      if (!retrying) return;
      await sleep(RETRY_AFTER, signal);
      changed ||= signal.reason !== STOPPED;
    }
  }

  return {
    prepare,
    pause,
    fail,
    update,
    get state() { return state; },
    get isCurrent() { return state.kind === "answer" && !changed; },
  };
}
