// The interface between the page and what classifies. server.js implements it, and so does the demo without a server:
//
//   classify(blob, signal)  Promise of {label: number|null, probabilities: number[10], blank: boolean, framed: data URI,
//                           milliseconds: number} for an image file; with teaching, also {model: "original"|"adapted"}
//   read(blob, signal)      Promise of {numbers: [{text, confidence, digits: [{label: number|null, confidence,
//                           box: [left, top, right, bottom]}]}], width, height, milliseconds: number} for an image file,
//                           from top to bottom; boxes are in pixels of an image of this width and height
//   loaded                  Promise that settles when the model is loaded, or cannot be; absent if nothing is to be loaded
//   save(blob, digit)       saves a correction; absent if the back end cannot save any
//   teaching                {status(), start(), cancel(), use(model)}; absent if the model cannot be adapted
//   explain(blob)           the values of the panel "How does it decide?"; absent if there is no panel
//
// All reject with a BackendError.

const MESSAGES = {
  offline: "You are offline. Predictions resume when you are back online.",
  gone: "Can't reach the app. Is it still running?",
  timeout: "The app doesn't answer.",
  busy: "The app is busy.",
  refused: "The app refused this page's request. Reload the page.",
  "too large": "This picture is too large.",
  invalid: "This file isn't a picture that can be opened. Try PNG, JPEG, GIF, BMP, WebP or TIFF.",
};

const TRANSIENT = ["gone", "offline", "busy", "timeout"]; // causes that may pass
export const RETRY_AFTER = 2000; // milliseconds

/** Why there is no answer. */
export class BackendError extends Error {
  /**
   * @param {keyof typeof MESSAGES} cause
   * @param {string} [message] - a sentence for the user, by default one about the cause
   */
  constructor(cause, message = MESSAGES[cause]) {
    super(message, { cause });
  }

  /** Whether the same request may succeed later. */
  get isTransient() {
    return TRANSIENT.includes(this.cause);
  }

  /** Return `error` as a BackendError. */
  static of(error) {
    if (error instanceof BackendError) return error;
    if (error?.name === "TimeoutError") return new BackendError("timeout");
    return new BackendError("gone", `Something went wrong: ${error?.message ?? error}.`);
  }
}
