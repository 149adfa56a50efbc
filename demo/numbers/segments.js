// Segments: the parts of a line that may be one digit, including cuts through touching digits:
// digitnet/numbers/segments.py.
import { argmin, around, max, min, range, round } from "./arrays.js";
import { segments as constants } from "./constants.js";
import { reduce } from "./ink.js";

const { WORKING_HEIGHT, CUT_WIDTH, CUTS_PER_HEIGHT, CUT_ROWS, CUT_DISTANCE, MAX_CUT, MIN_SIDE, CORE_COST } = constants;
const { CORE_DEPTH, PIXELS_PER_EDGE, SIDEWAYS, MAX_WIDTH, MAX_MERGED_GAP, LOW_PART, FULL_WIDTH } = constants;
const TOO_WIDE = 2.5; // times the height of the line

/**
 * Cut the components of a line into pieces.
 *
 * @param {object} ink - see ink.js
 * @param {object} components - see components.js
 * @param {{height: number, members: number[]}} line - see layout.js
 * @param {number[]} [whole] - components that are not cut
 * @returns {object} for each pixel of a reduced part of the image 0 for the background, or the number of the piece plus 1,
 *     and the contrast; for each piece, from left to right, its box, number of pixels, component, and the pairs of pixels that
 *     the cut between it and the next separates; the height of the line; and the position and scale of the part
 */
export function cutLine(ink, components, line, whole = []) {
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
  const found = line.members.flatMap((i) => {
    return cutComponent(labels, i, components.boxes[i], area, scale, lineHeight, !whole.includes(i));
  });
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
function cutComponent(labels, component, componentBox, [areaLeft, areaTop], scale, lineHeight, mayCut) {
  const [x0, y0, x1, y1] = componentBox.map((value, side) => Math.floor((value - (side % 2 ? areaTop : areaLeft)) / scale));
  const left = Math.max(x0 - 1, 0), top = Math.max(y0 - 1, 0);
  const right = Math.min(x1 + 2, labels.width), bottom = Math.min(y1 + 2, labels.height);
  const mask = clip(labels.data, labels.width, [left, top, right, bottom]);
  mask.data = mask.data.map((label) => Number(label === component + 1));
  const cuts = mayCut && x1 - x0 > CUT_WIDTH * lineHeight ? findCuts(mask, lineHeight) : [];
  const pieces = range(0, cuts.length + 1).map(() => []);
  for (let y = 0; y < mask.height; y++) {
    for (let x = 0; x < mask.width; x++) {
      if (!mask.data[y * mask.width + x]) continue;
      const place = cuts.filter(({ path }) => x >= path[y]).length;
      pieces[place].push((top + y) * labels.width + left + x);
    }
  }
  let position = 0;
  return pieces.flatMap((pixels, number) => {
    if (!pixels.length) return [];
    const [first, , stop] = boxOf(pixels, labels.width);
    position = Math.max(position, first + stop - 1); // the pieces of a component stay in order
    return [{ pixels, component, position, cost: cuts[number]?.cost ?? 0 }];
  });
}

function boxOf(pixels, width) {
  return around(pixels.map((pixel) => {
    const x = pixel % width, y = Math.floor(pixel / width);
    return [x, y, x + 1, y + 1];
  }));
}

/**
 * Return cuts between pixels, from top to bottom, that separate few neighbors, from left to right: {path: the first column
 * on the right side in each row, cost: number of pairs of neighbors}.
 */
function findCuts(mask, lineHeight) {
  const { data, width, height } = mask;
  const strength = findStrength(mask);
  const down = cheapestCuts(strength), up = cheapestCuts(strength.toReversed());
  const reach = Math.max(1, round(CUT_DISTANCE * lineHeight));
  const found = CUT_ROWS.flatMap((fraction) => {
    const row = round(fraction * height);
    const total = down.cost[row].map((cost, x) => cost + up.cost[height - row][x]);
    const columns = localMinima(total, reach).filter((x) => total[x] <= MAX_CUT * lineHeight);
    return columns.map((x) => ({ path: trace(down, up, row, x), total: total[x] }));
  });
  found.sort((a, b) => a.total - b.total); // stable
  const chosen = selectCuts(found.map(({ path }) => path), mask, MIN_SIDE * lineHeight ** 2)
    .slice(0, round((CUTS_PER_HEIGHT * width) / lineHeight));
  const rows = range(0, height).map((y) => chosen.map((path) => path[y]).sort((a, b) => a - b));
  return chosen.map((_, i) => {
    const path = rows.map((places) => places[i]); // where two cross, they are exchanged
    return { path, cost: countSeparated(data, width, path) };
  });
}

/** Return those of the cuts that differ from the ones before them, and from no cut, by at least an area of ink. */
function selectCuts(paths, { data, width, height }, minArea) {
  const countLeft = (y, stop) => data.subarray(y * width, y * width + stop).reduce((sum, ink) => sum + ink, 0);
  const known = [range(0, height).map(() => 0), range(0, height).map((y) => countLeft(y, width))];
  return paths.filter((path) => {
    const left = path.map((x, y) => countLeft(y, x));
    const distances = known.map((other) => other.reduce((sum, count, y) => sum + Math.abs(count - left[y]), 0));
    if (min(distances) < minArea) return false;
    known.push(left);
    return true;
  });
}

/** Return how strongly pixels hold together, as rows: 1 for ink, less inside of strokes, 0 for the background. */
function findStrength({ data, width, height }) {
  let edges = 0, area = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const place = y * width + x;
      area += data[place];
      edges += (x > 0 && data[place] !== data[place - 1]) + (y > 0 && data[place] !== data[place - width]);
    }
  }
  let core = range(0, height).map((y) => Array.from(data.subarray(y * width, (y + 1) * width)));
  for (let i = round((CORE_DEPTH * PIXELS_PER_EDGE * area) / Math.max(edges, 1)); i > 0; i--) {
    core = core.map((row, y) => row.map((_, x) => {
      const near = [y - 1, y, y + 1].map((other) => core[other] ?? []);
      return Number(near.every((other) => other[x - 1] && other[x] && other[x + 1]));
    }));
  }
  return core.map((row, y) => row.map((inside, x) => (inside ? CORE_COST : data[y * width + x])));
}

/**
 * Return the cheapest cuts from the top to each corner of the pixels: their cost, that before the last steps sideways, and
 * the cost of the way from the left end to each corner, all as rows.
 */
function cheapestCuts(strength) {
  const height = strength.length, width = strength[0].length;
  const sideways = range(0, height + 1).map((y) => {
    const way = [0];
    for (let x = 0; x < width; x++) {
      way.push(way[x] + (SIDEWAYS + (y > 0 && y < height ? strength[y][x] * strength[y - 1][x] : 0)));
    }
    return way;
  });
  const cost = [Array(width + 1).fill(0)], before = [Array(width + 1).fill(0)];
  for (let y = 1; y <= height; y++) {
    const row = strength[y - 1], way = sideways[y];
    before.push(cost[y - 1].map((value, x) => value + (x > 0 && x < width ? row[x] * row[x - 1] : 0)));
    const right = before[y].map((value, x) => value - way[x]), left = before[y].map((value, x) => value + way[x]);
    for (let x = 1; x <= width; x++) right[x] = Math.min(right[x], right[x - 1]);
    for (let x = width - 1; x >= 0; x--) left[x] = Math.min(left[x], left[x + 1]);
    cost.push(way.map((value, x) => Math.min(left[x] - value, right[x] + value)));
  }
  return { cost, before, sideways };
}

/** Return the column of the cheapest cut through a corner in each row of pixels. */
function trace(down, up, row, column) {
  const height = down.cost.length - 1, path = Array(height);
  const follow = ({ before, sideways }, count, rowOf) => {
    let place = column;
    for (let index = count; index > 0; index--) {
      const way = sideways[index], here = way[place];
      place = argmin(before[index].map((cost, x) => cost + Math.abs(way[x] - here)));
      path[rowOf(index)] = place;
    }
  };
  follow(down, row, (index) => index - 1);
  follow(up, height - row, (index) => height - index);
  return path;
}

/** Return how many pairs of neighbors, horizontal or vertical, are on different sides of a cut. */
function countSeparated(data, width, path) {
  let count = 0;
  path.forEach((column, y) => {
    const place = y * width;
    if (column > 0 && column < width) count += data[place + column] && data[place + column - 1];
    if (!y) return;
    for (let x = Math.min(column, path[y - 1]); x < Math.max(column, path[y - 1]); x++) {
      count += data[place + x] && data[place - width + x];
    }
  });
  return count;
}

/** Return where values are not larger than those up to `reach` away; of a long run of equal ones, both ends. */
function localMinima(values, reach) {
  const isLowest = (x) => values[x] <= min(values.slice(Math.max(0, x - reach), x + reach + 1)) + SIDEWAYS / 2;
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
