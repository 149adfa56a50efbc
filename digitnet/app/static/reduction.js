// Reduces photos in the browser, before they are sent.
import { BackendError } from "./backend.js";

const MAX_PIXELS = 1600 * 1600; // the server reduces larger images to this, too
const MAX_SIDE = 16_384; // pixels; the server refuses longer images
const SVG_SIDE = 1000; // pixels of the longer side of an SVG image, which has no pixels of its own
const MAX_BYTES = 3_500_000; // the server accepts requests of 4 MB
const JPEG_QUALITY = 0.92;

/**
 * Return an image file that is small enough to be sent: the same one if it is, a reduced one otherwise. An SVG file is
 * always painted here: it is text, which no server has to interpret.
 *
 * @param {Blob} blob - an image file
 * @returns {Promise<Blob>}
 * @throws {BackendError} if it is too large and the browser cannot open it
 */
export async function reduce(blob) {
  if (!blob.size) throw new BackendError("invalid");
  if (blob.type.startsWith("image/svg")) return paintSvg(blob);
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch { // a format that only the server can open, or no image
    if (blob.size <= MAX_BYTES) return blob;
    const megabytes = (blob.size / 1e6).toFixed(1);
    throw new BackendError("too large", `This file is too large (${megabytes} MB; the limit is ${MAX_BYTES / 1e6} MB).`);
  }
  try {
    const { width, height } = bitmap;
    const scale = Math.min(1, Math.sqrt(MAX_PIXELS / (width * height)), MAX_SIDE / Math.max(width, height));
    if (scale === 1 && blob.size <= MAX_BYTES) return blob;
    return await encode(bitmap, scale);
  } finally {
    bitmap.close();
  }
}

/** Paint an SVG file as the browser displays it: without scripts, and without what it refers to. */
async function paintSvg(blob) {
  const image = new Image();
  try {
    image.src = URL.createObjectURL(blob);
    await image.decode();
    const side = Math.max(image.width, image.height);
    if (!side) throw new Error("It has no size.");
    return await encode(image, SVG_SIDE / side);
  } catch { // no SVG file, or one that may not be read after it is painted
    throw new BackendError("invalid");
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

async function encode(bitmap, scale) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // behind transparent pixels, as the server does
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", JPEG_QUALITY));
}
