// Classifies images with the model, which runs in a worker: all that another project needs, with worker.js.

/** A classifier of handwritten digits. */
export class DigitClassifier {
  #worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  #requests = new Map(); // by their ids: the functions that settle their promises
  #count = 0;
  #failure; // an error of the worker: it answers no request any more

  constructor() {
    this.#worker.addEventListener("message", ({ data: { id, error, ...result } }) => {
      const { resolve, reject } = this.#requests.get(id);
      this.#requests.delete(id);
      if (error) reject(new Error(error));
      else resolve(result);
    });
    this.#worker.addEventListener("error", () => {
      this.#failure = new Error("the worker cannot be loaded");
      for (const { reject } of this.#requests.values()) reject(this.#failure);
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
    if (this.#failure) return Promise.reject(this.#failure);
    const id = this.#count++;
    return new Promise((resolve, reject) => {
      this.#requests.set(id, { resolve, reject });
      this.#worker.postMessage({ id, rgba: data, width, height });
    });
  }
}
