// The prediction of the tab that is displayed.
const find = (selector) => element.querySelector(selector);
const digit = find("output"), framed = find("img"), status = find(".status"), time = find(".time");
const blank = framed.src;
const NO_RESPONSE = "No response: was the app stopped?";
let prediction = null, saved = null;

const bars = Array.from({ length: 10 }, (_, label) => {
  const row = document.createElement("li");
  row.innerHTML = `<b>${label}</b><i></i><span></span>`;
  return find(".bars").appendChild(row);
});
const buttons = Array.from({ length: 10 }, (_, label) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  button.disabled = true;
  button.setAttribute("aria-label", `It is ${label === 8 ? "an" : "a"} ${label}`);
  button.addEventListener("click", () => save(label));
  return find(".digits").appendChild(button);
});

const percent = (probability) => `${(100 * probability).toFixed(1)} %`;

function setText(target, text) {
  if (target.textContent !== text) target.textContent = text; // screen readers announce only changes
}

function describe({ label = null, probabilities, blank: isBlank, image, error }) {
  if (saved && saved.image === image) return saved.text; // until another image is classified
  if (error) return error;
  if (!probabilities) return NO_RESPONSE;
  if (isBlank) return image ? "Too little ink" : "Nothing drawn yet";
  if (label === null) return "This does not look like a digit";
  return `${percent(probabilities[label])} confidence`;
}

document.addEventListener("digitnet-prediction", ({ detail }) => {
  prediction = detail;
  const { label = null, probabilities, blank: isBlank, milliseconds } = detail;
  const hasBars = probabilities && !detail.error && !isBlank;
  setText(digit, label === null ? "–" : String(label));
  setText(status, describe(detail));
  bars.forEach((bar, i) => {
    bar.className = i === label ? "first" : "";
    bar.children[1].style.setProperty("--fraction", `${hasBars ? 100 * probabilities[i] : 0}%`);
    bar.children[2].textContent = hasBars ? percent(probabilities[i]) : "";
  });
  framed.src = detail.framed ?? blank;
  setText(time, milliseconds === undefined ? "" : ` · ${milliseconds.toFixed(1)} ms`);
  for (const button of buttons) button.disabled = !hasBars || Boolean(detail.outdated);
});
// A drawing that has changed cannot be corrected before it is classified: the previous image would be saved.
document.addEventListener("digitnet-request", () => {
  for (const button of buttons) button.disabled = true;
});

async function save(label) {
  const { image } = prediction;
  if (!image) return; // the drawing was cleared in the meantime
  let result = {};
  try {
    result = await server.save([image, label]);
  } catch { /* no response */ }
  const text = result.error ?? (result.saved ? `Saved as ${result.saved}` : `Not saved. ${NO_RESPONSE}`);
  saved = { image, text };
  if (prediction.image === image) setText(status, text);
}

// The browser would open a file that is dropped elsewhere, and the drawing would be lost.
for (const type of ["dragover", "drop"]) document.addEventListener(type, (event) => event.preventDefault());
