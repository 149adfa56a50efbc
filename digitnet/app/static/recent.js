// The last images with their predictions. Each can be brought back.

const MAX_IMAGES = 10;
const SIDE = 64; // pixels of an image in the strip

/**
 * Make the strip.
 *
 * @param {HTMLElement} section - hidden until there is an image
 */
export function createRecent(section) {
  const strip = section.querySelector(".strip");

  /**
   * Add an image in front.
   *
   * @param {CanvasImageSource} image
   * @param {object} state - the state of its prediction
   * @param {() => void} restore - brings it back
   */
  function add(image, state, restore) {
    const label = state.kind === "answer" ? labelOf(state) : "–";
    const name = label !== "–" ? label : state.kind === "answer" ? "rejected" : "not classified";
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.setAttribute("aria-label", `Bring back: ${name}`);
    const caption = Object.assign(document.createElement("span"), { textContent: label });
    button.append(thumbnail(image), caption);
    button.addEventListener("click", () => {
      button.remove();
      section.hidden = !strip.children.length;
      restore();
    });
    strip.prepend(button);
    while (strip.children.length > MAX_IMAGES) strip.lastChild.remove();
    section.hidden = false;
  }

  return { add };
}

/** Return the text of an answer; a dash if everything was rejected. */
function labelOf({ label, numbers }) {
  return (numbers ? numbers.map(({ text }) => text).join(" ") : label === null ? "" : String(label)) || "–";
}

function thumbnail(image) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, SIDE, SIDE);
  const { width, height } = image;
  const scale = Math.min(SIDE / width, SIDE / height);
  context.drawImage(image, (SIDE - width * scale) / 2, (SIDE - height * scale) / 2, width * scale, height * scale);
  return canvas;
}
