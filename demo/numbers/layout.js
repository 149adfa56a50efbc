// Layout: which components are digits, parts of digits or marks, and which digits form a line:
// digitnet/numbers/layout.py.
import { argmin, max, median, min, range, round } from "./arrays.js";
import { layout as constants } from "./constants.js";

const { MIN_SIZE, MIN_HEIGHT, MIN_OVERLAP, MAX_GAP, MAX_STACKED, MAX_STACK_GAP, MAX_DISTANCE } = constants;
const { MAX_PART_DISTANCE, MAX_POINT, LOW, MINUS_ASPECT, MAX_MINUS_HEIGHT, MINUS_POSITION, ISOLATED } = constants;
const { WIDE, MIN_LOCAL_HEIGHT, SLIDING_WIDTH, DIGIT_WIDTH } = constants;
const GAP_WEIGHT = 4; // of the gap to a neighbor, per distance of the middles

const widthOf = ([left, , right]) => right - left;
const heightOf = ([, top, , bottom]) => bottom - top;

/**
 * Group components to lines.
 *
 * @param {object} components - see components.js
 * @returns {{height: number, members: number[], marks: number}[]} the typical height of the digits, the components that are
 *     digits, several touching digits or parts of digits, and the number of others, of each line, from top to bottom
 */
export function findLines(components) {
  const { boxes, areas } = components;
  const large = range(0, boxes.length).filter((i) => Math.max(widthOf(boxes[i]), heightOf(boxes[i])) >= MIN_SIZE);
  if (!large.length) return [];
  const heights = boxes.map(heightOf);
  for (const i of large) if (widthOf(boxes[i]) > WIDE * heights[i]) heights[i] = heightOfColumns(components, i);
  const typical = weightedMedian(large.map((i) => heights[i]), large.map((i) => areas[i]));
  const isTall = (i) => heightOf(boxes[i]) >= MIN_HEIGHT * typical;
  const tall = large.filter(isTall), small = large.filter((i) => !isTall(i));
  const owners = small.map((i) => nearest(boxes, heights, i, tall));
  const lines = chain(boxes, heights, tall, typical).map((group) => {
    const repeated = group.flatMap((i) => {
      const count = Math.max(1, round(widthOf(boxes[i]) / (DIGIT_WIDTH * heights[i])));
      return Array(count).fill(heights[i]);
    });
    const height = median(repeated);
    const near = small.filter((_, k) => group.includes(owners[k]));
    const parts = near.filter((i) => isPart(boxes, i, group, height));
    return { height, members: [...group, ...parts], marks: near.length - parts.length };
  });
  const keys = new Map(lines.map((line) => [line, positionOf(boxes, line)]));
  return lines.sort((a, b) => keys.get(a)[0] - keys.get(b)[0] || keys.get(a)[1] - keys.get(b)[1]);
}

/** Return a key that sorts lines from top to bottom, and from left to right. */
function positionOf(boxes, { members }) {
  const middles = members.map((i) => boxes[i][1] + boxes[i][3]);
  return [median(middles) / 2, min(members.map((i) => boxes[i][0]))];
}

/** Return the typical height of a component in a part of its width, since a line may rise or fall. */
function heightOfColumns({ labels, boxes, width: stride }, index) {
  const [left, top, right, bottom] = boxes[index];
  const first = [], last = [];
  for (let x = left; x < right; x++) {
    const rows = range(top, bottom).filter((y) => labels[y * stride + x] === index + 1);
    first.push(rows[0] - top);
    last.push(rows.at(-1) + 1 - top);
  }
  let height = bottom - top;
  for (let step = 0; step < 2; step++) {
    const width = Math.min(Math.max(1, round(SLIDING_WIDTH * height)), right - left);
    const starts = range(0, right - left - width + 1);
    height = median(starts.map((x) => max(last.slice(x, x + width)) - min(first.slice(x, x + width))));
  }
  return Math.max(height, (bottom - top) * MIN_LOCAL_HEIGHT);
}

/** Return the median of values that have weights. */
function weightedMedian(values, weights) {
  const order = range(0, values.length).sort((a, b) => values[a] - values[b]);
  const half = weights.reduce((sum, weight) => sum + weight, 0) / 2;
  let sum = 0;
  return values[order.find((i) => (sum += weights[i]) >= half)];
}

/** Return groups of components on the same line: each is connected to its right neighbor. */
function chain(boxes, heights, tall, typical) {
  const middle = (i) => (boxes[i][0] + boxes[i][2]) / 2;
  const height = (i) => Math.min(heightOf(boxes[i]), heights[i] * WIDE);
  const overlap = (i, j) => Math.min(boxes[i][3], boxes[j][3]) - Math.max(boxes[i][1], boxes[j][1]);
  const gap = (i, j) => boxes[j][0] - boxes[i][2];

  function isBeside(i, j) {
    const follows = middle(j) > middle(i) || (middle(j) === middle(i) && j > i);
    return follows && overlap(i, j) >= MIN_OVERLAP * Math.min(height(i), height(j)) &&
      gap(i, j) <= MAX_GAP * Math.max(height(i), height(j));
  }

  function isStacked(i, j) {
    const union = Math.max(boxes[i][3], boxes[j][3]) - Math.min(boxes[i][1], boxes[j][1]);
    const shared = Math.min(boxes[i][2], boxes[j][2]) - Math.max(boxes[i][0], boxes[j][0]);
    return union <= MAX_STACKED * typical && -overlap(i, j) <= MAX_STACK_GAP * typical &&
      shared > Math.min(widthOf(boxes[i]), widthOf(boxes[j])) / 2;
  }

  const links = new Map(tall.map((i) => [i, new Set()]));
  const link = (i, j) => { links.get(i).add(j); links.get(j).add(i); };
  for (const i of tall) {
    const beside = tall.filter((j) => isBeside(i, j));
    const distances = beside.map((j) => Math.max(gap(i, j), 0) * GAP_WEIGHT + middle(j) - middle(i));
    if (beside.length) link(i, beside[argmin(distances)]);
    for (const j of tall) if (isStacked(i, j)) link(i, j);
  }
  const groups = [], remaining = new Set(tall);
  for (const first of tall) {
    if (!remaining.delete(first)) continue;
    const group = [], frontier = [first];
    while (frontier.length) {
      const i = frontier.pop();
      group.push(i);
      for (const j of links.get(i)) if (remaining.delete(j)) frontier.push(j);
    }
    groups.push(group.sort((a, b) => a - b));
  }
  return groups;
}

/** Return the tall component to which a small one is nearest, or -1 if it is far from all. */
function nearest(boxes, heights, small, tall) {
  const distances = tall.map((i) => Math.max(0, ...gapsOf(boxes[small], boxes[i])));
  const closest = argmin(distances);
  return distances[closest] <= MAX_DISTANCE * heights[tall[closest]] ? tall[closest] : -1;
}

/** Return the horizontal and vertical gaps between two boxes, negative if they overlap. */
function gapsOf(one, other) {
  return [Math.max(one[0] - other[2], other[0] - one[2]), Math.max(one[1] - other[3], other[1] - one[3])];
}

/** Return whether a small component is a part of a digit, and no decimal point, minus sign or speck. */
function isPart(boxes, index, group, height) {
  const [left, top, right, bottom] = boxes[index];
  const shared = group.map((i) => Math.min(boxes[i][2], right) - Math.max(boxes[i][0], left));
  const near = boxes[group[argmin(shared.map((value) => Math.max(-value, 0)))]];
  const isIsolated = max(shared) <= ISOLATED * (right - left);
  const position = ((top + bottom) / 2 - near[1]) / (near[3] - near[1]);
  if (isIsolated && Math.max(right - left, bottom - top) <= MAX_POINT * height && position >= LOW) return false;
  const isBar = right - left >= MINUS_ASPECT * (bottom - top) && bottom - top <= MAX_MINUS_HEIGHT * height;
  if (isIsolated && isBar && MINUS_POSITION[0] <= position && position <= MINUS_POSITION[1]) return false;
  return min(group.map((i) => Math.max(0, ...gapsOf(boxes[i], boxes[index])))) <= MAX_PART_DISTANCE * height;
}
