// A canvas to draw on, with mouse, finger, pen or keyboard.
import { Drawing } from "./drawing.js";
import { Painter } from "./painting.js";

const DEFAULT_SIZE = 280; // pixels, for a canvas that is not displayed
const GRID = 16; // rows for drawing with the keyboard, and columns of a square canvas
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const KEYBOARD = "keyboard"; // the pointer of the strokes that are drawn with it

/**
 * Make a canvas a drawing area.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {{getPenWidth: () => number, onChange: () => void, onMove?: (text: string) => void,
 *     onPen?: () => void, onIgnoredTouch?: () => void, aspect?: number}} options - the pen's width as a fraction of the
 *     height, what to do when the drawing changes, how to tell where the keyboard's cursor is, what to do when a pen
 *     draws and when a finger is ignored because of it, and the width of the canvas per height
 * @returns {{drawing: Drawing, refresh: () => void}} the drawing, and a function to call after changing it
 */
export function createCanvas(canvas, options) {
  const { getPenWidth, onChange, onMove = () => {}, onPen = () => {}, onIgnoredTouch = () => {}, aspect = 1 } = options;
  const columnCount = GRID * aspect;
  const drawing = new Drawing();
  const painter = new Painter();
  const cursor = { column: GRID / 2, row: GRID / 2, visible: false }; // a number begins on the left
  const touches = new Set(); // the fingers that are drawing
  let hasPen = false, paintRequested = false;

  function positionOf(event) {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * aspect, (event.clientY - box.top) / box.height];
  }

  function repaint() {
    if (paintRequested) return;
    paintRequested = true;
    requestAnimationFrame(() => {
      paintRequested = false;
      const size = Math.round((canvas.clientWidth / aspect) * devicePixelRatio) || DEFAULT_SIZE;
      painter.paint(canvas, drawing.strokes, size, aspect);
      if (cursor.visible) paintCursor(size);
    });
  }

  function refresh() {
    repaint();
    onChange();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const pointer = `${event.pointerType} ${event.pointerId}`;
    if (event.pointerType === "pen") {
      hasPen = true;
      drawing.discard([...touches]); // they are of the hand that holds the pen
      touches.clear();
      onPen();
    } else if (event.pointerType === "touch") {
      if (hasPen) return onIgnoredTouch();
      touches.add(pointer);
    }
    event.preventDefault(); // no selection and no mouse events
    canvas.classList.add("by-pointer");
    canvas.focus({ preventScroll: true });
    cursor.visible = false;
    canvas.setPointerCapture(event.pointerId); // a stroke may leave the canvas and return
    drawing.begin(pointer, getPenWidth(), positionOf(event));
    refresh();
  });

  canvas.addEventListener("pointermove", (event) => {
    const pointer = `${event.pointerType} ${event.pointerId}`;
    if (!drawing.isDrawnBy(pointer)) return;
    const events = event.getCoalescedEvents?.() ?? [];
    drawing.extend(pointer, (events.length ? events : [event]).map(positionOf));
    refresh();
  });
  for (const type of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(type, (event) => {
      const pointer = `${event.pointerType} ${event.pointerId}`;
      if (!drawing.isDrawnBy(pointer)) return;
      touches.delete(pointer);
      drawing.end(pointer);
      refresh();
    });
  }

  // Arrow keys move a cursor over a grid; the space bar and Enter put the pen down and lift it.
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in ARROWS) moveCursor(...ARROWS[event.key]);
    else if (event.key === " " || event.key === "Enter") togglePen();
    else if (event.key === "Escape" && drawing.isDrawnBy(KEYBOARD)) drawing.end(KEYBOARD);
    else return;
    event.preventDefault();
    canvas.classList.remove("by-pointer");
    cursor.visible = true;
    const state = drawing.isDrawnBy(KEYBOARD) ? "pen down" : "pen up";
    onMove(`Row ${cursor.row + 1}, column ${cursor.column + 1}, ${state}`);
    refresh();
  });
  canvas.addEventListener("blur", () => {
    canvas.classList.remove("by-pointer");
    cursor.visible = false;
    repaint();
    if (!drawing.isDrawnBy(KEYBOARD)) return;
    drawing.end(KEYBOARD);
    refresh();
  });

  const cursorPosition = () => [(cursor.column + 0.5) / GRID, (cursor.row + 0.5) / GRID];

  function moveCursor(columns, rows) {
    cursor.column = Math.min(columnCount - 1, Math.max(0, cursor.column + columns));
    cursor.row = Math.min(GRID - 1, Math.max(0, cursor.row + rows));
    if (drawing.isDrawnBy(KEYBOARD)) drawing.extend(KEYBOARD, [cursorPosition()]);
  }

  function togglePen() {
    if (drawing.isDrawnBy(KEYBOARD)) drawing.end(KEYBOARD);
    else drawing.begin(KEYBOARD, getPenWidth(), cursorPosition(), { smooth: false });
  }

  function paintCursor(size) {
    const context = canvas.getContext("2d");
    const [x, y] = cursorPosition().map((position) => position * size);
    context.setTransform(1, 0, 0, 1, 0, 0);
    for (const [style, width] of [["#fff", 5], ["#1d4ed8", 2]]) { // visible on paper and on ink
      context.strokeStyle = style;
      context.lineWidth = width * devicePixelRatio;
      context.beginPath();
      context.arc(x, y, size / GRID / 2, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  new ResizeObserver(repaint).observe(canvas);
  repaint();
  return { drawing, refresh };
}
