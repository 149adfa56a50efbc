// A picture from a file, the clipboard, the camera or the examples. The file goes to the server as it is.
const find = (name) => element.querySelector(name);
const preview = find(".preview"), viewfinder = find(".viewfinder"), file = find(".file"), drop = find(".drop");
const camera = find(".camera"), shoot = find(".shoot");
let answer = { error: "No picture yet" }, turn = 0;

function announce() {
  document.dispatchEvent(new CustomEvent("digitnet-answer", { detail: answer }));
}

async function read(picture) {
  const mine = ++turn; // an answer that comes after a newer picture was chosen is dropped
  preview.hidden = false;
  preview.onerror = () => { preview.hidden = true; };
  preview.src = picture;
  stop();
  let read = {};
  try {
    read = await server.read(picture);
  } catch { /* no answer */ }
  if (mine !== turn) return;
  answer = { ...read, picture };
  if (drop.offsetParent) announce(); // the other tab may show by now
}

function readFile(chosen) {
  if (!chosen) return;
  if (chosen.size > MAX_FILE_BYTES) {
    turn++;
    preview.hidden = true;
    answer = { error: `${chosen.name} has ${chosen.size.toLocaleString("en")} bytes; at most ${MAX_FILE_BYTES.toLocaleString("en")} are read` };
    return announce();
  }
  const reader = new FileReader();
  // A file without a known type gets one: what it really is the server finds out.
  reader.onload = () => read(reader.result.replace(/^data:[^,]*?(;base64)?,/, `data:${chosen.type || "application/octet-stream"};base64,`));
  reader.readAsDataURL(chosen);
}

find(".choose").addEventListener("click", () => file.click());
file.addEventListener("change", () => {
  readFile(file.files[0]);
  file.value = ""; // the same file may be chosen again
});
drop.addEventListener("drop", (event) => readFile(event.dataTransfer.files[0]));
document.addEventListener("paste", (event) => {
  if (!drop.offsetParent) return; // the other tab
  readFile([...event.clipboardData.files][0]);
});
for (const example of element.querySelectorAll(".examples button")) {
  example.addEventListener("click", () => read(example.querySelector("img").src));
}

camera.hidden = !navigator.mediaDevices?.getUserMedia;
function stop() {
  viewfinder.srcObject?.getTracks().forEach((track) => track.stop());
  viewfinder.srcObject = null;
  viewfinder.hidden = shoot.hidden = true;
}
camera.addEventListener("click", async () => {
  camera.disabled = true; // one stream at a time
  stop();
  try {
    viewfinder.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    if (!drop.offsetParent) return stop(); // gone to the other tab before the camera was allowed
    await viewfinder.play();
    preview.hidden = true;
    viewfinder.hidden = shoot.hidden = false;
    shoot.focus();
  } catch (error) {
    stop();
    answer = { error: `The camera cannot be used: ${error.message}` };
    announce();
  } finally {
    camera.disabled = false;
  }
});
shoot.addEventListener("click", () => {
  const still = new OffscreenCanvas(viewfinder.videoWidth, viewfinder.videoHeight);
  still.getContext("2d").drawImage(viewfinder, 0, 0);
  stop();
  still.convertToBlob({ type: "image/jpeg" }).then((blob) => readFile(new File([blob], "camera.jpg", { type: blob.type })));
});
new IntersectionObserver(([seen]) => {
  if (seen.isIntersecting) announce();
  else stop(); // nobody is filmed on a tab that does not show
}).observe(drop);
