// Reduces photos in the browser, before they are sent.
import { BackendError } from "./backend.js";

export const MAX_SIDE = 1600; // pixels; the server reduces larger images to this, too
const MAX_BYTES = 3_500_000; // the server accepts requests of 4 MB
const JPEG_QUALITY = 0.92;

/**
 * Return an image file that is small enough to be sent: the same one if it is, a reduced one otherwise.
 *
 * @param {Blob} blob - an image file
 * @returns {Promise<Blob>}
 * @throws {BackendError} if it is too large and the browser cannot open it
 */
export async function reduce(blob) {
  if (!blob.size) throw new BackendError("invalid");
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch { // a format that only the server can open, or no image
    if (blob.size <= MAX_BYTES) return blob;
    const megabytes = (blob.size / 1e6).toFixed(1);
    throw new BackendError("too large", `This file is too large (${megabytes} MB; the limit is ${MAX_BYTES / 1e6} MB).`);
  }
  try {
    const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
    if (scale === 1 && blob.size <= MAX_BYTES) return blob;
    return await encode(bitmap, scale);
  } finally {
    bitmap.close();
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
