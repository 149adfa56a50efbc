// The tab for an image from a file, the clipboard, the camera or the examples. The file is sent as it is.
const find = (selector) => element.querySelector(selector);
const preview = find(".preview"), viewfinder = find(".viewfinder"), file = find(".file"), drop = find(".drop");
const camera = find(".camera"), shoot = find(".shoot");
let prediction = { error: "No image yet" }, lastRequest = 0;

function announce() {
  document.dispatchEvent(new CustomEvent("digitnet-prediction", { detail: prediction }));
}

async function classify(image) {
  const request = ++lastRequest; // a prediction that arrives after a newer image was chosen is discarded
  preview.hidden = false;
  preview.onerror = () => { preview.hidden = true; };
  preview.src = image;
  stopCamera();
  let result = {};
  try {
    result = await server.classify(image);
  } catch { /* no response */ }
  if (request !== lastRequest) return;
  prediction = { ...result, image };
  if (drop.offsetParent) announce(); // the other tab may be displayed by now
}

function loadFile(chosen) {
  if (!chosen) return;
  if (chosen.size > MAX_FILE_BYTES) {
    lastRequest++;
    preview.hidden = true;
    const [size, limit] = [chosen.size, MAX_FILE_BYTES].map((bytes) => bytes.toLocaleString("en"));
    prediction = { error: `Expected at most ${limit} bytes, ${chosen.name} has ${size}` };
    return announce();
  }
  const fileReader = new FileReader();
  // A file of unknown type gets one; the server finds out what it is.
  const type = chosen.type || "application/octet-stream";
  fileReader.onload = () => classify(fileReader.result.replace(/^data:[^,]*?(;base64)?,/, `data:${type};base64,`));
  fileReader.readAsDataURL(chosen);
}

find(".choose").addEventListener("click", () => file.click());
file.addEventListener("change", () => {
  loadFile(file.files[0]);
  file.value = ""; // the same file may be chosen again
});
drop.addEventListener("drop", (event) => loadFile(event.dataTransfer.files[0]));
document.addEventListener("paste", (event) => {
  if (!drop.offsetParent) return; // the other tab is displayed
  loadFile([...event.clipboardData.files][0]);
});
for (const example of element.querySelectorAll(".examples button")) {
  example.addEventListener("click", () => classify(example.querySelector("img").src));
}

camera.hidden = !navigator.mediaDevices?.getUserMedia;
function stopCamera() {
  viewfinder.srcObject?.getTracks().forEach((track) => track.stop());
  viewfinder.srcObject = null;
  viewfinder.hidden = shoot.hidden = true;
}
camera.addEventListener("click", async () => {
  camera.disabled = true; // one stream at a time
  stopCamera();
  try {
    viewfinder.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    if (!drop.offsetParent) return stopCamera(); // the other tab was chosen before the camera was allowed
    await viewfinder.play();
    preview.hidden = true;
    viewfinder.hidden = shoot.hidden = false;
    shoot.focus();
  } catch (error) {
    stopCamera();
    prediction = { error: `The camera cannot be used: ${error.message}` };
    announce();
  } finally {
    camera.disabled = false;
  }
});
shoot.addEventListener("click", async () => {
  const photo = new OffscreenCanvas(viewfinder.videoWidth, viewfinder.videoHeight);
  photo.getContext("2d").drawImage(viewfinder, 0, 0);
  stopCamera();
  const blob = await photo.convertToBlob({ type: "image/jpeg" });
  loadFile(new File([blob], "camera.jpg", { type: blob.type }));
});
new IntersectionObserver(([entry]) => {
  if (entry.isIntersecting) announce();
  else stopCamera(); // nobody is filmed while the other tab is displayed
}).observe(drop);
