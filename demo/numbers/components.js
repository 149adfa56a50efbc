// Connected components of a mask, found from the runs of its rows: digitnet/numbers/components.py.

/**
 * Find the connected components of a mask; diagonal neighbors are connected.
 *
 * @param {Uint8Array} mask - 1 for ink, row by row
 * @param {number} width
 * @param {number} height
 * @returns {{labels: Int32Array, boxes: number[][], areas: number[]}} for each pixel 0 for the background, or the number
 *     of the component plus 1; the box and the number of pixels of each component, in the order of their first pixels
 */
export function findComponents(mask, width, height) {
  const runs = findRuns(mask, width, height);
  const component = connectRuns(runs);
  const labels = new Int32Array(width * height), boxes = [], areas = [];
  runs.forEach(({ row, start, stop }, i) => {
    const index = component[i];
    boxes[index] ??= [start, row, stop, row + 1];
    areas[index] = (areas[index] ?? 0) + stop - start;
    const box = boxes[index];
    box[0] = Math.min(box[0], start);
    box[2] = Math.max(box[2], stop);
    box[3] = row + 1;
    labels.fill(index + 1, row * width + start, row * width + stop);
  });
  return { labels, boxes, areas, width, height };
}

/** Return the horizontal runs of a mask, {row, start, stop}, from top to bottom and from left to right. */
function findRuns(mask, width, height) {
  const runs = [];
  for (let row = 0; row < height; row++) {
    const offset = row * width;
    for (let x = 0; x < width; x++) {
      if (!mask[offset + x]) continue;
      const start = x;
      while (x < width && mask[offset + x]) x++;
      runs.push({ row, start, stop: x });
    }
  }
  return runs;
}

/** Return the component of each run, numbered in the order of their first runs. */
function connectRuns(runs) {
  const parent = runs.map((_, i) => i);
  const rootOf = (i) => {
    while (parent[i] !== i) i = parent[i] = parent[parent[i]];
    return i;
  };
  let upper = 0;
  runs.forEach((run, i) => {
    while (runs[upper].row < run.row - 1 || (runs[upper].row === run.row - 1 && runs[upper].stop < run.start)) upper++;
    for (let j = upper; runs[j].row === run.row - 1 && runs[j].start <= run.stop; j++) {
      const [low, high] = [rootOf(i), rootOf(j)].sort((a, b) => a - b);
      parent[high] = low;
    }
  });
  const numbers = new Map();
  return runs.map((_, i) => {
    const root = rootOf(i);
    if (!numbers.has(root)) numbers.set(root, numbers.size);
    return numbers.get(root);
  });
}
