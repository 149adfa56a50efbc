// The square to draw in. Strokes are kept as points, so that they can be undone and drawn again at any size.
const canvas = element.querySelector("canvas"), undo = element.querySelector(".undo");
const clear = element.querySelector(".clear"), width = element.querySelector(".width");
const READ_AT = 280, EVERY = 100; // pixels of the picture that is read; milliseconds between readings while drawing
const NOTHING = { label: null, probabilities: [], blank: true, picture: "" };
let strokes = [], pointer = null, answer = NOTHING;

// Places and widths are parts of the side, from 0 to 1.
function place(event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

function paint(target, side) {
  const pen = target.getContext("2d");
  target.width = target.height = side; // clears it, too
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, side, side);
  pen.scale(side, side);
  pen.lineCap = pen.lineJoin = "round";
  for (const { width, points } of strokes) {
    pen.lineWidth = width;
    pen.beginPath();
    pen.moveTo(...points[0]);
    // Curves through the middle of each two points are smooth.
    for (let i = 1; i < points.length; i++) {
      const [x, y] = points[i - 1], [nextX, nextY] = points[i];
      pen.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    }
    pen.lineTo(points.at(-1)[0] + (points.length === 1 ? 1e-4 : 0), points.at(-1)[1]); // no length would be no dot
    pen.stroke();
  }
}

let painting = false;
function repaint() {
  const left = strokes.length === 0 && [undo, clear].includes(document.activeElement);
  undo.disabled = clear.disabled = strokes.length === 0;
  if (left) width.focus(); // a disabled button would lose the keyboard's place
  if (painting) return;
  painting = true;
  requestAnimationFrame(() => {
    painting = false;
    paint(canvas, Math.round(canvas.clientWidth * devicePixelRatio) || READ_AT);
  });
}

// One reading at a time; what changes meanwhile is read after it, so the last one is always of the whole drawing.
let reading = false, changed = false, lastRead = 0;
async function read() {
  changed = true;
  document.dispatchEvent(new CustomEvent("digitnet-reading"));
  if (reading) return;
  reading = true;
  while (changed) {
    const wait = pointer === null ? 0 : lastRead + EVERY - performance.now();
    if (wait > 0) await new Promise((resume) => setTimeout(resume, wait));
    changed = false;
    lastRead = performance.now();
    const copy = document.createElement("canvas");
    paint(copy, READ_AT);
    const picture = strokes.length ? copy.toDataURL("image/png") : "";
    try {
      answer = { ...(await server.read(picture)), picture };
    } catch {
      answer = { picture };
    }
    if (canvas.offsetParent) announce(); // the other tab may show by now
  }
  reading = false;
}

function announce() {
  document.dispatchEvent(new CustomEvent("digitnet-answer", { detail: { ...answer, more: changed } }));
}

canvas.addEventListener("pointerdown", (event) => {
  if (pointer !== null || event.button !== 0) return; // one pointer at a time: a resting palm draws nothing
  event.preventDefault();
  canvas.setPointerCapture((pointer = event.pointerId)); // a stroke may leave the square and come back
  strokes.push({ width: width.value / 100, points: [place(event)] });
  repaint();
  read();
});
canvas.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pointer) return;
  const moves = event.getCoalescedEvents?.() ?? [];
  strokes.at(-1).points.push(...(moves.length ? moves : [event]).map(place));
  repaint();
  read();
});
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, (event) => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    read();
  });
}

function change(left) {
  strokes = left;
  pointer = null; // a stroke that was being drawn ends here
  repaint();
  read();
}
undo.addEventListener("click", () => change(strokes.slice(0, -1)));
clear.addEventListener("click", () => change([]));
document.addEventListener("keydown", (event) => {
  const undoes = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z";
  if (!undoes || pointer !== null || !canvas.offsetParent || event.target.matches?.("textarea, [type=text]")) return;
  event.preventDefault();
  if (strokes.length) change(strokes.slice(0, -1));
});

new ResizeObserver(repaint).observe(canvas);
// Back on this tab, its answer shows again.
new IntersectionObserver(([seen]) => seen.isIntersecting && announce()).observe(canvas);
