// What was read, of whichever tab read last.
const find = (name) => element.querySelector(name);
const digit = find("output"), seen = find("img"), status = find(".status"), time = find(".time");
const blank = seen.src;
let answer = null;

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
  button.setAttribute("aria-label", `It is a ${label}`);
  button.addEventListener("click", () => keep(label));
  return find(".digits").appendChild(button);
});

const percent = (probability) => `${(100 * probability).toFixed(1)} %`;

function say(place, text) {
  if (place.textContent !== text) place.textContent = text; // only a change is read aloud
}

document.addEventListener("digitnet-answer", ({ detail }) => {
  answer = detail;
  const { label = null, probabilities, blank: nothing, milliseconds, error } = detail;
  say(digit, label === null ? "–" : String(label));
  if (error) say(status, error);
  else if (nothing) say(status, detail.picture && !detail.drawn ? "Nothing to read in this picture" : "Nothing drawn yet");
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
  for (const button of buttons) button.disabled = Boolean(error || nothing);
});

async function keep(label) {
  try {
    const { error, kept } = await server.keep([answer.picture, label]);
    status.textContent = error ?? `Kept as ${kept}`;
  } catch {
    status.textContent = "Not kept: has the app been stopped?";
  }
}
