// Label maps in the browser: their colours, errors and IoU; and controls that several widgets have.

const VOID_STRIPES = [[40, 40, 40], [150, 150, 150]];
const RIGHT_GREY = [235, 235, 235];
const WRONG_ORANGE = [213, 94, 0];

/** Class ids as an opaque canvas; with a truth: where they are right (grey) and wrong (orange). */
function paintLabels(ids, width, height, { palette, ignore, truth = null }) {
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const band = Math.max(2, Math.round(Math.max(width, height) / 100));
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      let colour = palette[ids[i]];
      if ((truth ?? ids)[i] === ignore) colour = VOID_STRIPES[Math.floor((x + y) / band) % 2];
      else if (truth) colour = truth[i] === ids[i] ? RIGHT_GREY : WRONG_ORANGE;
      picture.data[4 * i] = colour[0];
      picture.data[4 * i + 1] = colour[1];
      picture.data[4 * i + 2] = colour[2];
      picture.data[4 * i + 3] = 255;
    }
  }
  context.putImageData(picture, 0, 0);
  return canvas;
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

const openPicture = (view, type = "image/png") =>
  createImageBitmap(new Blob([toBytes(view)], { type }), { colorSpaceConversion: "none" });

/** The colour of a class beside its name. */
function classSwatch(id, palette, ignore) {
  const node = make("span", { className: id === ignore ? "swatch void" : "swatch" });
  if (id !== ignore) node.style.backgroundColor = `rgb(${palette[id].join()})`;
  return node;
}

/** One of several, as buttons in a row: `{node, show(value)}`. */
function choiceOf(label, values, pick, names = {}) {
  const group = `choice-${Math.random().toString(36).slice(2)}`;
  const radios = values.map((value) => make("input", { type: "radio", name: group, value }));
  for (const radio of radios) radio.addEventListener("change", () => pick(radio.value));
  const node = make("div", { className: "choice", role: "radiogroup", "aria-label": label },
    ...radios.map((radio) =>
      make("label", {}, radio, make("span", {}, names[radio.value] ?? radio.value))));
  return { node, show: (value) => radios.forEach((radio) => { radio.checked = radio.value === value; }) };
}

/** Back and forth through a number of things: `{node, show(index, count, name)}`. */
function pagerOf(what, turn) {
  const back = make("button", { type: "button", "aria-label": `previous ${what}` }, "‹");
  const forth = make("button", { type: "button", "aria-label": `next ${what}` }, "›");
  const place = make("span", { className: "place" });
  back.addEventListener("click", () => turn(-1));
  forth.addEventListener("click", () => turn(1));
  const node = make("div", { className: "pages" }, back, place, forth);
  return {
    node,
    show(index, count, name) {
      node.hidden = count < 2;
      place.textContent = `${index + 1} / ${count}${name ? ` · ${name}` : ""}`;
    },
  };
}

/** Which pixel of a canvas an event is at, kept inside: [x, y]. */
function pixelAt(canvas, event) {
  const box = canvas.getBoundingClientRect();
  const inside = (share, size) => Math.min(Math.max(Math.floor(share * size), 0), size - 1);
  return [inside((event.clientX - box.left) / box.width, canvas.width),
    inside((event.clientY - box.top) / box.height, canvas.height)];
}

/** Where an arrow key moves to, ten times as far with shift; null of any other key. */
function arrowOf(event) {
  const step = event.shiftKey ? 10 : 1;
  return { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key]
    ?? null;
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

/** Change a setting here and in Python. */
function changer(model) {
  return (key, value) => {
    model.set(key, value);
    model.save_changes();
  };
}

/** Listen to settings, and return what stops it. */
function listenTo(model, listeners) {
  for (const [name, listener] of Object.entries(listeners)) model.on(`change:${name}`, listener);
  return () => {
    for (const [name, listener] of Object.entries(listeners)) model.off(`change:${name}`, listener);
  };
}

/** Say in place of a widget why it shows nothing. */
function tell(root, error) {
  root.replaceChildren(make("p", { role: "alert" }, `This cannot be shown: ${error}`));
}
