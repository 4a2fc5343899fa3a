// Label maps that are compared: their errors, their IoU, and where on a canvas they are asked about.

const RIGHT_GREY = [235, 235, 235];
const WRONG_VIOLET = [128, 40, 255];

/** Class ids as an opaque canvas; with a truth: where they are right (grey) and wrong (violet). */
function paintLabels(ids, width, height, { palette, ignore, truth = null }) {
  if (!truth) return paintIds(ids, width, height, new ClassList([], palette, ignore).table());
  const verdicts = truth.map((id, i) => (id === ignore ? 2 : id === ids[i] ? 0 : 1));
  return paintIds(verdicts, width, height, [RIGHT_GREY, WRONG_VIOLET, STRIPES]);
}

/**
 * IoU by class (NaN where it is in neither map), their mean over the classes that are in one, and
 * the share of labelled pixels that are right. Void pixels of the truth are not counted.
 */
function scoreLabels(prediction, truth, classes, ignore) {
  const both = new Int32Array(256), inTruth = new Int32Array(256), predicted = new Int32Array(256);
  let labelled = 0, right = 0;
  for (let i = 0; i < truth.length; i++) {
    if (truth[i] === ignore) continue;
    labelled++;
    inTruth[truth[i]]++;
    predicted[prediction[i]]++;
    if (truth[i] === prediction[i]) right++, both[truth[i]]++;
  }
  const iou = [];
  for (let k = 0; k < classes; k++) iou.push(both[k] / (inTruth[k] + predicted[k] - both[k]));
  const counted = iou.filter((value) => !Number.isNaN(value));
  const miou = counted.reduce((sum, value) => sum + value, 0) / counted.length;
  return { iou, miou, accuracy: right / labelled, labelled };
}

/** A share as a reader sees it; a dash where there is none. */
const hundredth = (share) => (Number.isNaN(share) ? "–" : (100 * share).toFixed(1));

/** One of several, as buttons in a row: `{node, show(value)}`. */
function choiceOf(label, values, pick, names = {}) {
  const node = segments(values.map((value) => [value, names[value] ?? value]), pick, label);
  return { node, show: (value) => { node.value = value; } };
}

/** Place a mark over a pixel of a canvas, or hide it. */
function placeMark(mark, canvas, pixel) {
  mark.hidden = !pixel;
  if (!pixel) return;
  mark.style.left = `${(100 * (pixel[0] + 0.5)) / canvas.width}%`;
  mark.style.top = `${(100 * (pixel[1] + 0.5)) / canvas.height}%`;
}

/** Size a canvas; small pictures are enlarged, their pixels kept square. */
function fitCanvas(canvas, stage, width, height) {
  Object.assign(canvas, { width, height });
  stage.style.width = `${100 * Math.min(1, (2.5 * width) / height)}%`; // a very tall one stays on the page
  canvas.classList.toggle("enlarged", width < 640);
}

/** Say in place of a widget why it shows nothing. */
function tell(root, error) {
  root.replaceChildren(make("p", { role: "alert" }, `This cannot be shown: ${error}`));
}
