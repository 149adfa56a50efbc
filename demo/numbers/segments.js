// Segments: the parts of a line that may be one digit, including cuts through touching digits:
// digitnet/numbers/segments.py.
import { around, max, min, range, round } from "./arrays.js";
import { segments as constants } from "./constants.js";
import { reduce } from "./ink.js";

const { WORKING_HEIGHT, CUT_WIDTH, CUTS_PER_HEIGHT, CUT_DISTANCE, DIAGONAL, MAX_WIDTH, MAX_MERGED_GAP } = constants;
const { LOW_PART, FULL_WIDTH } = constants;
const TOO_WIDE = 2.5; // times the height of the line

/**
 * Cut the components of a line into pieces.
 *
 * @param {object} ink - see ink.js
 * @param {object} components - see components.js
 * @param {{height: number, members: number[]}} line - see layout.js
 * @returns {object} for each pixel of a reduced part of the image 0 for the background, or the number of the piece plus 1,
 *     and the contrast; for each piece, from left to right, its box, number of pixels, component, and the pixels of ink on
 *     the cut between it and the next; the height of the line; and the position and scale of the part
 */
export function cutLine(ink, components, line) {
  const scale = Math.max(1, round(line.height / WORKING_HEIGHT));
  const box = around(line.members.map((i) => components.boxes[i]));
  const area = [
    Math.max(box[0] - 1, 0), Math.max(box[1] - 1, 0),
    Math.min(box[2] + 1, components.width), Math.min(box[3] + 1, components.height),
  ];
  const labels = sample(clip(components.labels, components.width, area), scale);
  const { width, height } = labels;
  const reduced = reduce(clip(ink.contrast, ink.width, area), scale);
  const contrast = clip(reduced.data, reduced.width, [0, 0, width, height]).data;
  const lineHeight = line.height / scale;
  const found = line.members.flatMap((i) => cutComponent(labels, i, components.boxes[i], area, scale, lineHeight));
  found.sort((a, b) => a.position - b.position);
  const numbers = new Int32Array(width * height);
  found.forEach(({ pixels }, number) => { for (const pixel of pixels) numbers[pixel] = number + 1; });
  return {
    numbers, contrast, width, height: lineHeight, rows: height,
    boxes: found.map(({ pixels }) => boxOf(pixels, width)),
    areas: found.map(({ pixels }) => pixels.length),
    component: found.map(({ component }) => component),
    cut: found.map(({ cost }) => cost),
    left: area[0], top: area[1], scale,
  };
}

/** Return a part of an array with two dimensions. */
function clip(data, stride, [left, top, right, bottom]) {
  const width = right - left, height = bottom - top;
  const result = new data.constructor(width * height);
  for (let y = 0; y < height; y++) {
    result.set(data.subarray((top + y) * stride + left, (top + y) * stride + right), y * width);
  }
  return { data: result, width, height };
}

/** Return each `scale`-th row and column. */
function sample({ data, width, height }, scale) {
  const columns = range(0, width).filter((x) => x % scale === scale >> 1);
  const rows = range(0, height).filter((y) => y % scale === scale >> 1);
  const result = Int32Array.from(rows.flatMap((y) => columns.map((x) => data[y * width + x])));
  return { data: result, width: columns.length, height: rows.length };
}

/** Return the pieces of a component: their pixels, position, component and the cost of the cut after them. */
function cutComponent(labels, component, componentBox, [areaLeft, areaTop], scale, lineHeight) {
  const [x0, y0, x1, y1] = componentBox.map((value, side) => Math.floor((value - (side % 2 ? areaTop : areaLeft)) / scale));
  const left = Math.max(x0 - 1, 0), top = Math.max(y0 - 1, 0);
  const right = Math.min(x1 + 2, labels.width), bottom = Math.min(y1 + 2, labels.height);
  const mask = clip(labels.data, labels.width, [left, top, right, bottom]);
  mask.data = mask.data.map((label) => Number(label === component + 1));
  const cuts = x1 - x0 > CUT_WIDTH * lineHeight ? findCuts(mask, lineHeight) : [];
  const pieces = range(0, cuts.length + 1).map(() => []);
  for (let y = 0; y < mask.height; y++) {
    for (let x = 0; x < mask.width; x++) {
      if (!mask.data[y * mask.width + x]) continue;
      const place = cuts.filter(({ path }) => x >= path[y]).length;
      pieces[place].push((top + y) * labels.width + left + x);
    }
  }
  return pieces.flatMap((pixels, number) => {
    if (!pixels.length) return [];
    const [first, , stop] = boxOf(pixels, labels.width);
    return [{ pixels, component, position: first + stop - 1, cost: cuts[number]?.cost ?? 0 }];
  });
}

function boxOf(pixels, width) {
  return around(pixels.map((pixel) => {
    const x = pixel % width, y = Math.floor(pixel / width);
    return [x, y, x + 1, y + 1];
  }));
}

/** Return paths from top to bottom that cross little ink, from left to right: {path: its columns, cost: pixels of ink}. */
function findCuts({ data, width, height }, lineHeight) {
  const rows = range(0, height).map((y) => Array.from(data.subarray(y * width, (y + 1) * width)));
  const down = cheapestPaths(rows);
  const reversed = cheapestPaths(rows.toReversed());
  const up = { cost: reversed.cost.reverse(), step: reversed.step.reverse() };
  const middle = Math.floor(height / 2);
  const total = rows[middle].map((ink, x) => Math.fround(Math.fround(down.cost[middle][x] + up.cost[middle][x]) - ink));
  const limit = round((CUTS_PER_HEIGHT * width) / lineHeight);
  const columns = localMinima(total, Math.max(1, round(CUT_DISTANCE * lineHeight)));
  columns.sort((a, b) => total[a] - total[b]); // stable
  return columns.slice(0, limit).sort((a, b) => a - b)
    .map((x) => ({ path: trace(down.step, up.step, middle, x), cost: total[x] }));
}

/** Return where values are not larger than those up to `reach` away; of a long run of equal ones, both ends. */
function localMinima(values, reach) {
  const isLowest = (x) => values[x] <= min(values.slice(Math.max(0, x - reach), x + reach + 1));
  const lowest = range(reach, values.length - reach).filter(isLowest);
  const runs = [];
  for (const x of lowest) {
    if (runs.length && runs.at(-1).at(-1) === x - 1) runs.at(-1).push(x);
    else runs.push([x]);
  }
  return runs.flatMap((run) => {
    const half = reach >> 1;
    return run.length > 2 * reach ? [run[half], run[run.length - 1 - half]] : [run[run.length >> 1]];
  });
}

/** Return the cost of the cheapest path from the first row to each pixel, and its last step: -1, 0 or 1 column. */
function cheapestPaths(rows) {
  const cost = [rows[0]], step = [rows[0].map(() => 0)];
  for (const row of rows.slice(1)) {
    const before = cost.at(-1), steps = [];
    cost.push(row.map((ink, x) => {
      const right = Math.fround((before[x - 1] ?? Infinity) + DIAGONAL);
      const left = Math.fround((before[x + 1] ?? Infinity) + DIAGONAL);
      steps.push(before[x] <= Math.min(left, right) ? 0 : right <= left ? 1 : -1);
      return Math.fround(ink + Math.min(before[x], left, right));
    }));
    step.push(steps);
  }
  return { cost, step };
}

/** Return the column of the cheapest path through a pixel of the middle row in each row. */
function trace(downStep, upStep, middle, column) {
  const path = downStep.map(() => column);
  for (let row = middle; row > 0; row--) path[row - 1] = path[row] - downStep[row][path[row]];
  for (let row = middle; row < path.length - 1; row++) path[row + 1] = path[row] - upStep[row][path[row]];
  return path;
}

/** Return the sequences of pieces that may be one digit, {start, stop}; each piece and each whole component is one. */
export function findSegments(pieces) {
  const { boxes, component, height } = pieces, segments = [];
  for (let start = 0; start < boxes.length; start++) {
    for (let stop = start + 1; stop <= boxes.length; stop++) {
      if (stop - start > 1) {
        if (!mayMerge(pieces, start, stop - 1)) break;
        const [left, , right] = around(boxes.slice(start, stop));
        const isSame = component.slice(start, stop).every((number) => number === component[start]);
        const isWhole = isSame && component.filter((number) => number === component[start]).length === stop - start;
        if (right - left > MAX_WIDTH * height && !isWhole) {
          if (right - left > TOO_WIDE * height) break;
          continue;
        }
      }
      segments.push({ start, stop });
    }
  }
  return segments;
}

/** Return whether a piece may belong to the same digit as those before it from `start` on. */
function mayMerge({ boxes, component, height }, start, last) {
  if (component[last] === component[last - 1]) return true;
  if (boxes[last][0] - max(boxes.slice(start, last).map((box) => box[2])) > MAX_MERGED_GAP * height) return false;
  const heights = [last - 1, last].map((i) => boxes[i][3] - boxes[i][1]);
  if (min(heights) < LOW_PART * height) return true;
  const spans = [last, last - 1].map((i) => around(boxes.filter((_, k) => component[k] === component[i])));
  const narrower = min(spans.map(([left, , right]) => right - left));
  const shared = Math.min(spans[0][2], spans[1][2]) - Math.max(spans[0][0], spans[1][0]);
  return narrower < FULL_WIDTH * height || shared > narrower / 2;
}
