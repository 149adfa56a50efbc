// The tab for an image from a file, the clipboard, the camera or the examples.
import { createPredictor } from "./predictor.js";
import { reduce } from "./reduction.js";

const PHOTO_SIDE = 1600; // pixels, if the camera has them
const TIMEOUT = 30_000; // milliseconds; a photo is a few hundred kilobytes

/**
 * Make the tab.
 *
 * @param {HTMLElement} panel
 * @param {object} backend - see backend.js
 * @param {{examples: string, onState: (state: object) => void,
 *     onReplace: (blob: Blob, state: object) => void}} options - `examples` is the address of an image
 *     with 0 to 9 side by side
 */
export function createImageTab(panel, backend, { examples, onState, onReplace }) {
  const find = (selector) => panel.querySelector(selector);
  const preview = find(".preview"), viewfinder = find(".viewfinder"), file = find(".file"), hint = find(".hint");
  const camera = find(".camera"), shoot = find(".shoot");
  let image = null, source = null, hasPreview = false;

  const predictor = createPredictor(backend.classify, { getImage: async () => image, timeout: TIMEOUT, onState });

  /** Show and classify an image file. */
  async function show(blob) {
    if (image) onReplace(source, predictor.state);
    stopCamera();
    [image, source] = [null, blob];
    display(blob);
    predictor.prepare();
    try {
      const reduced = await reduce(blob);
      if (source !== blob) return; // another image was chosen in the meantime
      image = reduced;
      predictor.update();
    } catch (error) {
      if (source === blob) predictor.fail(error.message);
    }
  }

  function display(blob) {
    URL.revokeObjectURL(preview.src);
    preview.onerror = () => { // a format that only the server can open, or no image
      hasPreview = false;
      preview.hidden = true;
      hint.textContent = "There is no preview of this file.";
      hint.hidden = false;
    };
    preview.src = URL.createObjectURL(blob);
    hasPreview = true;
    preview.hidden = false;
    hint.hidden = true;
  }

  find(".choose").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    if (file.files[0]) show(file.files[0]);
    file.value = ""; // the same file may be chosen again
  });
  /** Load what only this tab needs, when it is displayed for the first time. */
  function open() {
    if (!find(".examples").children.length) showExamples(find(".examples"), examples, show);
  }

  camera.hidden = !navigator.mediaDevices?.getUserMedia;
  function stopCamera() {
    viewfinder.srcObject?.getTracks().forEach((track) => track.stop());
    viewfinder.srcObject = null;
    viewfinder.hidden = shoot.hidden = true;
    preview.hidden = !hasPreview;
    hint.hidden = hasPreview;
    camera.textContent = "Use the camera";
  }
  camera.addEventListener("click", async () => {
    const isOpen = Boolean(viewfinder.srcObject);
    stopCamera();
    if (isOpen) return predictor.update();
    camera.disabled = true; // one stream at a time
    const earlier = source;
    try {
      const ideal = PHOTO_SIDE;
      const video = { facingMode: "environment", width: { ideal }, height: { ideal } };
      viewfinder.srcObject = await navigator.mediaDevices.getUserMedia({ video });
      // The other tab or another image was chosen before the camera was allowed.
      if (panel.hidden || source !== earlier) return stopCamera();
      await viewfinder.play();
      preview.hidden = hint.hidden = true;
      viewfinder.hidden = shoot.hidden = false;
      camera.textContent = "Close the camera";
      predictor.pause("Point the camera at a digit");
      shoot.focus();
    } catch (error) {
      stopCamera();
      predictor.fail(`The camera can't be used: ${error.message.replace(/\.$/, "")}.`);
    } finally {
      camera.disabled = false;
    }
  });
  shoot.addEventListener("click", () => {
    if (!viewfinder.videoWidth) return; // before the first frame
    const photo = document.createElement("canvas");
    [photo.width, photo.height] = [viewfinder.videoWidth, viewfinder.videoHeight];
    photo.getContext("2d").drawImage(viewfinder, 0, 0);
    stopCamera();
    photo.toBlob(show, "image/jpeg", 0.95);
    camera.focus(); // the button that had the focus is hidden now
  });

  return { show, open, stopCamera, predictor };
}

/** Make a button of each of the ten digits in an image. */
async function showExamples(element, address, show) {
  const buttons = Array.from({ length: 10 }, (_, digit) => {
    const button = Object.assign(document.createElement("button"), { type: "button", disabled: true });
    button.setAttribute("aria-label", `Example ${digit}`);
    return element.appendChild(button);
  });
  const strip = Object.assign(new Image(), { src: address });
  try {
    await strip.decode();
  } catch {
    element.replaceChildren(); // they are loaded again when the tab is displayed again
    return;
  }
  const side = strip.naturalHeight;
  buttons.forEach((button, digit) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
    canvas.getContext("2d").drawImage(strip, digit * side, 0, side, side, 0, 0, side, side);
    button.append(canvas);
    button.disabled = false;
    button.addEventListener("click", () => canvas.toBlob(show, "image/png"));
  });
}
