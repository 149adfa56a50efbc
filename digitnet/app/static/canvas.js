// A canvas to draw on. Strokes are stored as points, so that they can be undone and painted at any size.
// The sketchpad and examples/browser use it.
function createSketchpad(canvas, { getPenWidth, onChange }) {
  const DEFAULT_SIZE = 280; // pixels, for a canvas that is not displayed
  let strokes = [], pointer = null, paintRequested = false;

  // Positions and widths are fractions of the side of the canvas.
  function positionOf(event) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  function paint(target, size) {
    const context = target.getContext("2d", { willReadFrequently: target !== canvas });
    target.width = target.height = size; // this also clears it
    context.fillStyle = "#fff";
    context.fillRect(0, 0, size, size);
    context.scale(size, size);
    context.lineCap = context.lineJoin = "round";
    for (const { width, points } of strokes) {
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(...points[0]);
      // Curves through the midpoints between two positions are smooth.
      for (let i = 1; i < points.length; i++) {
        const [x, y] = points[i - 1], [nextX, nextY] = points[i];
        context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
      }
      const [x, y] = points.at(-1);
      context.lineTo(x + (points.length === 1 ? 1e-4 : 0), y); // a line without length would not be painted
      context.stroke();
    }
  }

  function repaint() {
    if (paintRequested) return;
    paintRequested = true;
    requestAnimationFrame(() => {
      paintRequested = false;
      paint(canvas, Math.round(canvas.clientWidth * devicePixelRatio) || DEFAULT_SIZE);
    });
  }

  function change(newStrokes) {
    strokes = newStrokes;
    pointer = null; // a stroke that is being drawn ends here
    repaint();
    onChange();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button !== 0) return; // one pointer at a time: a resting palm does not draw
    event.preventDefault();
    canvas.setPointerCapture((pointer = event.pointerId)); // a stroke may leave the canvas and return
    strokes.push({ width: getPenWidth(), points: [positionOf(event)] });
    repaint();
    onChange();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    strokes.at(-1).points.push(...(events.length ? events : [event]).map(positionOf));
    repaint();
    onChange();
  });
  for (const type of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(type, (event) => {
      if (event.pointerId !== pointer) return;
      pointer = null;
      onChange();
    });
  }
  new ResizeObserver(repaint).observe(canvas);
  repaint();

  return {
    paint,
    isEmpty: () => strokes.length === 0,
    isDrawing: () => pointer !== null,
    undo: () => change(strokes.slice(0, -1)),
    clear: () => change([]),
  };
}
