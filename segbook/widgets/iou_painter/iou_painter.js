// The IoU painter. Python hands over image and truth, and is told what was painted.
// The scores are defined as in segkit.metrics.policies and segkit.losses; tests compare the two.

const UNDOS = 40;
const UNDO_BYTES = 64e6;

const sum = (values) => values.reduce((total, value) => total + value, 0);
/** A quotient; null of nothing, where segkit says nan. */
const ratio = (part, whole) => (whole ? part / whole : null);
/** The mean of what is not null; null of nothing. */
function mean(values) {
  const known = values.filter((value) => value !== null);
  return ratio(sum(known), known.length);
}

/** Pixels by [true class][predicted class]; the last row is void. */
function countPairs(truth, prediction, count, ignore) {
  const matrix = Array.from({ length: count + 1 }, () => new Array(count).fill(0));
  for (let i = 0; i < truth.length; i++) {
    matrix[truth[i] === ignore ? count : truth[i]][prediction[i]]++;
  }
  return matrix;
}

/** All scores of one image, 0..1 or null; `confidence` is the probability of the painted class. */
function scoresOf(matrix, confidence) {
  const onVoid = matrix.at(-1);
  const classes = matrix.slice(0, -1);
  const right = classes.map((row, k) => row[k]);
  const inTruth = classes.map(sum);
  const predicted = classes.map((_, k) => sum(classes.map((row) => row[k])));
  const union = inTruth.map((size, k) => size + predicted[k] - right[k]);
  const labelled = sum(inTruth);
  const iou = right.map((size, k) => ratio(size, union[k]));
  const withVoid = right.map((size, k) => ratio(size, union[k] + onVoid[k]));
  const miou = {
    dataset: mean(iou),
    dataset_absent_0: mean(iou.map((value) => value ?? 0)),
    dataset_absent_1: mean(iou.map((value) => value ?? 1)),
    foreground: mean(iou.slice(1)),
    void_as_fp: mean(withVoid),
    void_as_fp_in_truth: mean(withVoid.filter((_, k) => inTruth[k])),
    micro: ratio(sum(right), sum(union)),
  };
  if (!labelled) for (const policy of Object.keys(miou)) miou[policy] = null;

  const rest = (1 - confidence) / (classes.length - 1);
  const nats = sum(right) * Math.log(confidence) + (labelled - sum(right)) * Math.log(rest);
  const softDice = mean(right.map((size, k) => {
    if (!inTruth[k]) return null;
    const overlap = confidence * size + rest * (inTruth[k] - size);
    const probability = confidence * predicted[k] + rest * (labelled - predicted[k]);
    return 1 - (2 * overlap) / (inTruth[k] + probability);
  }));
  return {
    pixel_accuracy: ratio(sum(right), labelled),
    cross_entropy: labelled ? -nats / labelled : 0,
    soft_dice: softDice ?? 0,
    miou,
    iou,
    dice: right.map((size, k) => ratio(2 * size, size + union[k])),
  };
}

/** How many pixels each class has. */
function sizes(ids, count) {
  const found = new Array(count).fill(0);
  for (const id of ids) if (id < count) found[id]++;
  return found;
}

/** The truth with its most frequent class where it is void: a prediction has a class everywhere. */
function withoutVoid(truth, count, ignore) {
  const size = sizes(truth, count);
  const most = size.indexOf(Math.max(...size));
  return truth.map((id) => (id === ignore ? most : id));
}

/** Everything `by` pixels to the right; the left border is repeated. */
function moved(ids, width, height, by) {
  return ids.map((_, i) => ids[i - Math.min(by, i % width)]);
}

/** Rare classes grown by `radius` pixels in all directions, over more frequent ones. */
function thickened(ids, width, height, count, radius) {
  const order = [...sizes(ids, count).entries()].sort((a, b) => b[1] - a[1]).map(([id]) => id);
  const rank = new Array(count);
  order.forEach((id, place) => (rank[id] = place));
  const widest = (from, along, length, other, lines) => {
    const found = from.slice();
    for (let line = 0; line < lines; line++) {
      for (let at = 0; at < length; at++) {
        const i = line * other + at * along;
        for (let k = Math.max(0, at - radius); k <= Math.min(length - 1, at + radius); k++) {
          found[i] = Math.max(found[i], from[line * other + k * along]);
        }
      }
    }
    return found;
  };
  const ranks = widest(ids.map((id) => rank[id]), 1, width, width, height);
  return widest(ranks, width, height, 1, width).map((place) => order[place]);
}

/** Paint a disc of this diameter around a pixel; `source` gives the class of pixel i. */
function stamp(prediction, width, height, [x, y], diameter, source) {
  const radius = diameter / 2;
  const reach = Math.floor(radius);
  for (let row = Math.max(0, y - reach); row <= Math.min(height - 1, y + reach); row++) {
    for (let column = Math.max(0, x - reach); column <= Math.min(width - 1, x + reach); column++) {
      if ((row - y) ** 2 + (column - x) ** 2 > radius * radius) continue;
      const i = row * width + column;
      prediction[i] = source(i);
    }
  }
}

const inPercent = (value) => (value === null ? "–" : (100 * value).toFixed(1));

function render({ model, el }) {
  const [width, height, ignore] = [model.get("width"), model.get("height"), model.get("ignore")];
  const names = new ClassList(model.get("classes"), model.get("palette"), ignore);
  const ids = names.names.map((_, id) => id);
  const zoom = zoomFor(width);
  let truth = null; // class ids, as soon as they are unpacked
  let base = null; // the image
  let outline = null; // the borders of the truth, and its void
  let prediction = toBytes(model.get("painted")).slice();
  let start = prediction.slice(); // what the eraser brings back
  let past = [];
  let brush = 0; // a class; -1 erases
  let shown = 0; // the class whose IoU stands first: that of the brush, also while one erases
  let probe = null; // the pixel under the brush, [x, y]
  let waiting = false;

  const canvas = make("canvas", {
    tabIndex: 0, role: "img", width: width * zoom, height: height * zoom,
    "aria-label": "the prediction; arrow keys move the brush, space paints",
  });
  const ring = make("div", { className: "ring", hidden: true });
  const readout = make("div", { className: "readout", "aria-live": "polite" });
  const longest = Math.max(width, height);
  const size = make("input", { type: "range", min: 1, max: Math.max(9, longest >> 2), value: Math.max(1, longest >> 4) });
  const sizeText = make("output");
  const opacity = make("input", { type: "range", min: 0, max: 100, value: model.get("image").byteLength ? 65 : 100 });
  const confidence = make("input", { type: "range", min: 50, max: 99, step: 1 });
  const confidenceText = make("output");
  const button = (text, act, title) => {
    const node = make("button", { type: "button", ...(title ? { title } : {}) }, text);
    node.addEventListener("click", act);
    return node;
  };
  const paints = [...ids, -1].map((id) => {
    const face = id < 0 ? ["eraser"] : [names.swatch(id), nameOf(names.title(id))];
    const node = make("button", { type: "button", "data-id": id }, ...face);
    node.addEventListener("click", () => choose(id));
    return node;
  });
  const by = Math.max(1, Math.round(width / 40));
  const undo = button("undo", () => {
    if (!past.length) return;
    prediction = past.pop();
    finish();
  });
  const whole = button("", () => begin(() => prediction.slice().fill(Math.max(brush, 0))));
  const copy = () => withoutVoid(truth, ids.length, ignore);
  const starters = [
    whole,
    button("the truth", () => begin(copy)),
    button(`the truth, ${by} px to the right`, () => begin(() => moved(copy(), width, height, by))),
    button("thin things too thick", () =>
      begin(() => thickened(copy(), width, height, ids.length, Math.max(1, by >> 1))),
      "Rare classes grow over frequent ones, as from a network of coarse stride."),
  ];
  const first = make("table", { className: "first" });
  const overall = make("table", {});
  const byClass = make("table", {});
  const root = make("div", { className: "segbook-widget segbook-painter" },
    make("div", { className: "paints", role: "group", "aria-label": "paint with" }, ...paints),
    make("div", { className: "bar" },
      make("label", { className: "range" }, "brush ", size, sizeText),
      make("label", { className: "range" }, "opacity ", opacity), undo),
    make("div", { className: "bar starters", role: "group", "aria-label": "begin with" }, "begin with", ...starters),
    readout,
    make("div", { className: "parts" },
      make("div", { className: "picture" }, make("div", { className: "stage" }, canvas, ring),
        make("div", { className: "help" }, "White lines: borders of the truth; stripes: void. "
          + "Keys: arrows (shift: 10 px) move, space paints, 1–9 choose a class, e eraser, [ ] size, z undo.")),
      make("div", { className: "figures" }, first, make("details", {},
        make("summary", {}, "more: every class, other means, losses"),
        make("div", { className: "more" }, byClass, overall)))));
  el.append(root);

  function choose(id) {
    brush = id;
    for (const node of paints) node.setAttribute("aria-pressed", String(Number(node.dataset.id) === id));
    whole.replaceChildren(`all ${names.title(Math.max(id, 0))}`);
    if (id >= 0) shown = id;
    if (truth) tabulate();
    showProbe();
  }

  /** Keep what is there for undo. */
  function remember() {
    past.push(prediction.slice());
    if (past.length > Math.min(UNDOS, UNDO_BYTES / prediction.length)) past.shift();
  }

  function begin(make) {
    if (!truth) return;
    remember();
    prediction = make();
    start = prediction.slice();
    finish();
  }

  /** Tell the kernel, if there is one. */
  function finish() {
    change(model, "painted", prediction.slice());
    update();
  }

  function draw() {
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (base) context.drawImage(base, 0, 0, canvas.width, canvas.height);
    context.globalAlpha = opacity.value / 100;
    context.drawImage(paintIds(prediction, width, height, names.table()), 0, 0, canvas.width, canvas.height);
    context.globalAlpha = 1;
    context.drawImage(outline, 0, 0);
  }

  function tabulate() {
    const found = scoresOf(countPairs(truth, prediction, ids.length, ignore), model.get("confidence"));
    const track = (value) => make("td", { className: "track" },
      make("span", { className: "fill", style: `width: ${100 * (value ?? 0)}%` }));
    const row = (head, value, text, title = "") => make("tr", { title },
      make("th", { scope: "row" }, head), track(value), make("td", {}, text));
    first.replaceChildren(
      make("caption", {}, "of what is painted, in %"),
      row("accuracy", found.pixel_accuracy, inPercent(found.pixel_accuracy), "of the labelled pixels"),
      row("mIoU", found.miou.dataset, inPercent(found.miou.dataset), "the mean over the classes"),
      row(make("span", {}, "IoU of ", names.swatch(shown), " ", nameOf(names.title(shown))),
        found.iou[shown], inPercent(found.iou[shown])));
    overall.replaceChildren(
      make("caption", {}, "mean IoU in %, by policy"),
      ...model.get("policies").map(([policy, meaning]) =>
        row(make("code", {}, policy), found.miou[policy], inPercent(found.miou[policy]), meaning)),
      row("pixel accuracy", found.pixel_accuracy, inPercent(found.pixel_accuracy), "of the labelled pixels"),
      make("tr", {}, make("th", { scope: "row", colSpan: 2 }, "cross-entropy, nats a pixel"),
        make("td", {}, found.cross_entropy.toFixed(3))),
      make("tr", {}, make("th", { scope: "row", colSpan: 2 }, "soft Dice loss"),
        make("td", {}, found.soft_dice.toFixed(3))),
      confidenceRow);
    byClass.replaceChildren(
      make("caption", {}, "by class in %"),
      make("tr", {}, make("th"), make("th"), make("th", { scope: "col" }, "IoU"), make("th", { scope: "col" }, "Dice")),
      ...ids.map((id) => {
        const line = row(make("span", {}, names.swatch(id), " ", nameOf(names.title(id))), found.iou[id], inPercent(found.iou[id]));
        line.append(make("td", {}, inPercent(found.dice[id])));
        return line;
      }));
  }
  const confidenceRow = make("tr", {}, make("th", { scope: "row", colSpan: 3 },
    make("label", { className: "range", title: "The others share what is left; only the losses see it." },
      "painted with p = ", confidence, confidenceText)));

  function showProbe() {
    ring.hidden = !probe;
    readout.replaceChildren();
    if (!truth) return;
    if (!probe) {
      readout.append("Choose a class and paint with the mouse, or begin with a prediction that is nearly right.");
      return;
    }
    const [x, y] = probe;
    const [true_, painted] = [truth[y * width + x], prediction[y * width + x]];
    const verdict = true_ === ignore ? "not counted" : true_ === painted ? "right" : "wrong";
    for (const [what, id] of [["truth", true_], ["painted", painted]]) {
      readout.append(names.swatch(id), make("span", {}, `${what} `, make("b", {}, nameOf(names.title(id)))));
    }
    readout.append(make("span", { className: `verdict ${verdict.replace(" ", "-")}` }, verdict),
      make("span", { className: "position" }, `x ${x}, y ${y}`));
    ring.style.left = `${(100 * (x + 0.5)) / width}%`;
    ring.style.top = `${(100 * (y + 0.5)) / height}%`;
    ring.style.width = `${(100 * size.value) / width}%`;
  }

  function update() {
    sizeText.value = `${size.value} px`;
    confidence.value = Math.round(100 * model.get("confidence"));
    confidenceText.value = model.get("confidence").toFixed(2);
    undo.disabled = !past.length;
    if (!truth) return;
    draw();
    tabulate();
    showProbe();
  }

  /** Once a frame, however fast the pointer moves. */
  function updateSoon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; update(); });
  }

  function paintTo(pixel) {
    const from = probe ?? pixel;
    const steps = Math.max(1, Math.ceil(Math.hypot(pixel[0] - from[0], pixel[1] - from[1])));
    const source = brush < 0 ? (i) => start[i] : () => brush;
    for (let k = 1; k <= steps; k++) {
      const between = from.map((value, axis) => Math.round(value + ((pixel[axis] - value) * k) / steps));
      stamp(prediction, width, height, between, Number(size.value), source);
    }
    probe = pixel;
    updateSoon();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (!truth || event.button) return;
    canvas.setPointerCapture(event.pointerId);
    remember();
    probe = null;
    paintTo(pixelUnder(event, canvas, width, height));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!truth) return;
    const pixel = pixelUnder(event, canvas, width, height);
    if (canvas.hasPointerCapture(event.pointerId)) paintTo(pixel);
    else probe = pixel, showProbe();
  });
  canvas.addEventListener("lostpointercapture", finish);
  for (const end of ["pointerleave", "blur"]) canvas.addEventListener(end, () => { probe = null; showProbe(); });
  const KEYS = {
    " ": (at) => { remember(); paintTo(at); finish(); },
    Enter: (at) => KEYS[" "](at),
    e: () => choose(-1),
    z: () => undo.click(),
    "[": () => { size.stepDown(); update(); },
    "]": () => { size.stepUp(); update(); },
  };
  canvas.addEventListener("keydown", (event) => {
    if (!truth) return;
    const at = probe ?? [width >> 1, height >> 1];
    const pixel = keyMove(event, at, width, height);
    if (pixel) {
      probe = pixel;
      showProbe();
    } else if (!event.ctrlKey && !event.metaKey && !event.altKey) {
      const id = Number(event.key) - 1;
      const act = KEYS[event.key] ?? (ids.includes(id) && event.key !== " " ? () => choose(id) : null);
      if (!act) return;
      event.preventDefault();
      act(at);
    }
  });
  size.addEventListener("input", update);
  opacity.addEventListener("input", update);
  confidence.addEventListener("input", () => change(model, "confidence", confidence.value / 100));

  async function open() {
    try {
      truth = await inflate(model.get("truth"));
      if (model.get("image").byteLength) base = await decodeImage(model.get("image"));
    } catch (error) {
      root.replaceChildren(make("p", { role: "alert" }, `This image cannot be shown: ${error}`));
      return;
    }
    outline = make("canvas", { width: canvas.width, height: canvas.height });
    const context = outline.getContext("2d");
    context.imageSmoothingEnabled = false;
    const voids = [];
    voids[ignore] = STRIPES;
    context.globalAlpha = 0.6; // what is painted there is still seen
    context.drawImage(paintIds(truth, width, height, voids), 0, 0, canvas.width, canvas.height);
    context.globalAlpha = 1;
    const path = borders(truth, width, height);
    strokeBorders(context, path, zoom, "#000", 3);
    strokeBorders(context, path, zoom, "#fff", 1.5);
    update();
    root.dataset.ready = "0"; // tests and style sheets may wait for it
  }

  choose(model.get("brush"));
  open();
  return listen(model, {
    "change:painted": () => { prediction = toBytes(model.get("painted")).slice(); update(); },
    "change:confidence": update,
    "change:brush": () => choose(model.get("brush")),
  });
}

export default { render };
