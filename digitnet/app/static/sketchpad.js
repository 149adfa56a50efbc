// A tab to draw on.
import { createCanvas } from "./canvas.js";
import { boundsOf } from "./drawing.js";
import { Painter, paintOnce } from "./painting.js";
import { createPredictor } from "./predictor.js";

const TIMEOUT = 8000; // milliseconds
const NOTE_DURATION = 8000; // milliseconds
// A drawing much smaller than the canvas is enlarged before it is classified, and its lines get thinner in proportion:
// the pen does not become smaller with the digit.
const DOT = 0.02; // a drawing of this size, as a fraction of the side, is a dot
const SMALL = 0.35;
const ENLARGED = 0.6;
const MAX_LINE_WIDTH = 0.13; // of a small drawing, as a fraction of its size

/**
 * Make the tab.
 *
 * @param {HTMLElement} panel
 * @param {(blob: Blob, signal: AbortSignal) => Promise<object>} classify - the back end's function, see backend.js
 * @param {{storageKey: string, imageSize: number, aspect?: number, adjust?: (strokes: object[]) => object[] | null,
 *     onState: (state: object) => void, onChange: () => void, onRemove: (strokes: object[], state: object) => void,
 *     announce: (text: string) => void}} options - the name of the stored drawing, the height of the image that is
 *     classified in pixels, its width per height, what to classify instead of some strokes, what to do when the
 *     prediction and the drawing change, before the drawing is cleared or replaced, and how to tell a screen reader
 *     something
 */
export function createSketchpad(panel, classify, options) {
  const { storageKey, imageSize, aspect = 1, adjust = () => null, onState, onChange, onRemove, announce } = options;
  const find = (selector) => panel.querySelector(selector);
  const width = find(".width"), undo = find(".undo"), redo = find(".redo"), clear = find(".clear");
  const touchNote = find(".touch-note");
  const painter = new Painter(), image = document.createElement("canvas");
  image.getContext("2d", { willReadFrequently: true });

  const { drawing, refresh } = createCanvas(find("canvas"), {
    getPenWidth: () => width.value / 100,
    onChange: update,
    onMove: announce,
    onPen: () => { touchNote.hidden = true; },
    onIgnoredTouch: noteIgnoredTouch,
    aspect,
  });
  const predictor = createPredictor(classify, {
    getImage: () => imageOf(drawing.strokes),
    isDrawing: () => drawing.isActive,
    timeout: TIMEOUT,
    onState,
  });

  let isNoted = false;
  function noteIgnoredTouch() {
    if (isNoted) return; // the hand that holds the pen often touches the canvas
    isNoted = true;
    touchNote.hidden = false;
    setTimeout(() => { touchNote.hidden = true; }, NOTE_DURATION);
  }

  function update() {
    updateButtons();
    onChange();
    predictor.update();
    if (!drawing.isActive) store();
  }

  function imageOf(strokes) {
    if (!strokes.length) return null;
    const adjusted = adjust(strokes);
    let canvas = image;
    if (adjusted) canvas = paintOnce(adjusted, imageSize, aspect);
    else painter.paint(image, strokes, imageSize, aspect);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  function updateButtons() {
    const focused = document.activeElement;
    undo.disabled = !drawing.canUndo && !drawing.isActive;
    redo.disabled = !drawing.canRedo;
    clear.disabled = drawing.isEmpty;
    if (focused?.disabled && panel.contains(focused)) find("canvas").focus(); // the keyboard's focus would be lost
  }

  // A reload and the Back button keep the drawing, in this browser tab only.
  function store() {
    try {
      sessionStorage.setItem(storageKey, JSON.stringify(drawing.finishedStrokes));
    } catch { /* the browser stores nothing */ }
  }

  function restore() {
    try {
      const strokes = JSON.parse(sessionStorage.getItem(storageKey) ?? "[]");
      if (strokes.length && strokes.every(isStroke)) show(strokes);
    } catch { /* nothing was stored, or something else */ }
  }

  function show(strokes) {
    drawing.endAll();
    drawing.replace(strokes);
    refresh();
  }

  /** Keep the present drawing, and show an earlier one instead. */
  function bringBack(strokes) {
    drawing.endAll();
    if (!drawing.isEmpty && drawing.finishedStrokes !== strokes) onRemove(drawing.finishedStrokes, predictor.state);
    show(strokes);
  }

  const act = (name) => () => {
    drawing.endAll();
    if (name === "clear" && !drawing.isEmpty) onRemove(drawing.finishedStrokes, predictor.state);
    drawing[name]();
    refresh();
  };
  undo.addEventListener("click", act("undo"));
  redo.addEventListener("click", act("redo"));
  clear.addEventListener("click", act("clear"));
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || panel.hidden) return;
    if (event.target.matches?.("textarea, [type=text]")) return;
    const key = event.key.toLowerCase();
    const name = key === "y" || (key === "z" && event.shiftKey) ? "redo" : key === "z" ? "undo" : null;
    if (!name || drawing.isActive) return;
    event.preventDefault();
    act(name)();
  });

  return { bringBack, restore, predictor, get isDrawing() { return drawing.isActive; } };
}

/** Return the strokes of a small drawing, enlarged to the middle of the canvas; null if the drawing is not small. */
export function enlarge(strokes) {
  const { left, top, right, bottom } = boundsOf(strokes);
  const size = Math.max(right - left, bottom - top);
  if (size <= DOT || size >= SMALL) return null;
  const scale = ENLARGED / size;
  const position = ([x, y]) => [0.5 + scale * (x - (left + right) / 2), 0.5 + scale * (y - (top + bottom) / 2)];
  return strokes.map(({ width, points }) => ({
    width: scale * Math.min(width, MAX_LINE_WIDTH * size),
    points: points.map(position),
  }));
}

function isStroke(stroke) {
  return Number.isFinite(stroke.width) && stroke.points.length > 0 && stroke.points.flat().every(Number.isFinite);
}
