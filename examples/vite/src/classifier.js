// Classifies images with the model, which runs in a worker: all that another project needs, with worker.js.

/** A classifier of handwritten digits. */
export class DigitClassifier {
  #worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  #requests = new Map(); // by their ids: the functions that settle their promises
  #count = 0;

  constructor() {
    this.#worker.addEventListener("message", ({ data: { id, error, ...result } }) => {
      const { resolve, reject } = this.#requests.get(id);
      this.#requests.delete(id);
      if (error) reject(new Error(error));
      else resolve(result);
    });
    this.#worker.addEventListener("error", () => {
      for (const { reject } of this.#requests.values()) reject(new Error("the worker cannot be loaded"));
      this.#requests.clear();
    });
  }

  /**
   * Classify an image.
   *
   * @param {ImageData} image - from getImageData, of any size
   * @returns {Promise<{label: number, probabilities: number[]}>} the digit, or -1 if the image is rejected, and the
   *     probability of each digit
   */
  classify({ data, width, height }) {
    const id = this.#count++;
    return new Promise((resolve, reject) => {
      this.#requests.set(id, { resolve, reject });
      this.#worker.postMessage({ id, rgba: data, width, height });
    });
  }
}
