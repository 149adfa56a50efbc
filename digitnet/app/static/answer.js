// What was read, of whichever tab read last.
const find = (name) => element.querySelector(name);
const digit = find("output"), seen = find("img"), status = find(".status"), time = find(".time");
const blank = seen.src;
let answer = null, kept = null;

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
  button.addEventListener("click", () => keep(label));
  return find(".digits").appendChild(button);
});

const percent = (probability) => `${(100 * probability).toFixed(1)} %`;

function say(place, text) {
  if (place.textContent !== text) place.textContent = text; // only a change is read aloud
}

document.addEventListener("digitnet-answer", ({ detail }) => {
  answer = detail;
  const { label = null, probabilities, blank: nothing, milliseconds } = detail;
  // Where the server is gone, or refuses, what comes is no answer.
  const error = detail.error ?? (probabilities ? undefined : "No answer: has the app been stopped?");
  say(digit, label === null ? "–" : String(label));
  if (kept && kept.picture === detail.picture) say(status, kept.text); // until another picture is read
  else if (error) say(status, error);
  else if (nothing) say(status, detail.picture ? "Too little there to read" : "Nothing drawn yet");
  else if (label === null) say(status, "This does not look like a digit");
  else say(status, `${percent(probabilities[label])} sure`);
  bars.forEach((bar, i) => {
    const share = error || nothing ? 0 : probabilities[i];
    bar.className = i === label ? "first" : "";
    bar.children[1].style.setProperty("--share", `${100 * share}%`);
    bar.children[2].textContent = error || nothing ? "" : percent(share);
  });
  seen.src = detail.seen ?? blank;
  say(time, milliseconds === undefined ? "" : ` · ${milliseconds.toFixed(1)} ms`);
  for (const button of buttons) button.disabled = Boolean(error || nothing || detail.more);
});
// What has changed since cannot be corrected before it is read: an older picture would be kept.
document.addEventListener("digitnet-reading", () => {
  for (const button of buttons) button.disabled = true;
});

async function keep(label) {
  const { picture } = answer;
  if (!picture) return; // read meanwhile: there is none to keep
  let result = {};
  try {
    result = await server.keep([picture, label]);
  } catch { /* no answer */ }
  const text = result.error ?? (result.kept ? `Kept as ${result.kept}` : "Not kept: has the app been stopped?");
  kept = { picture, text };
  if (answer.picture === picture) say(status, text);
}

// A file that misses its place would be opened by the browser, and the drawing lost.
for (const way of ["dragover", "drop"]) document.addEventListener(way, (event) => event.preventDefault());
