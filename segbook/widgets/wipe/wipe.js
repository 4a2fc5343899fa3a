// The wipe: two pictures of one size over each other, and a line that says which is seen where.

/** One pair, ready to be shown and asked: canvases by layer, ids, scores. */
async function openPair(pair, { palette, ignore, classes }) {
  const { width, height } = pair;
  if (!classes.length) {
    const sides = await Promise.all([decodeImage(pair.left), decodeImage(pair.right)]);
    return { width, height, sides, layers: { prediction: sides } };
  }
  const [image, truth, ...ids] = await Promise.all([
    pair.image ? decodeImage(pair.image) : null,
    pair.truth ? inflate(pair.truth) : null,
    inflate(pair.left), inflate(pair.right),
  ]);
  const layers = { prediction: ids.map((each) => paintLabels(each, width, height, { palette, ignore })) };
  let scores = null;
  if (truth) {
    layers.error = ids.map((each) => paintLabels(each, width, height, { palette, ignore, truth }));
    scores = ids.map((each) => scoreLabels(each, truth, classes.length, ignore));
  }
  return { width, height, image, truth, ids, layers, scores, differ: countDifferent(...ids) };
}

/** How many entries of two arrays differ. */
function countDifferent(one, other) {
  let count = 0;
  for (let i = 0; i < one.length; i++) count += one[i] !== other[i];
  return count;
}

function render({ model, el }) {
  const classes = model.get("classes");
  const palette = model.get("palette");
  const ignore = model.get("ignore");
  const names = model.get("names");
  const pairs = model.get("pairs");
  const opened = new Map();
  let pair = null;
  let probe = null;
  let row = null; // that the keyboard asks about
  let dragged = false;
  const known = new ClassList(classes, palette, ignore);
  const put = (key, value) => change(model, key, value);

  const canvas = make("canvas", { tabIndex: 0, role: "img" });
  const line = make("div", { className: "line" });
  const mark = make("div", { className: "cross", hidden: true });
  const sides = ["left", "right"].map((side, k) => make("div", { className: `side ${side}` }, names[k]));
  const stage = make("div", { className: "stage" }, canvas, line, ...sides, mark);
  const slider = make("input", { type: "range", min: 0, max: 100, step: 1, "aria-label": "line" });
  const opacity = make("input", { type: "range", min: 0, max: 100, step: 1 });
  const amount = make("output");
  const strength = make("label", { className: "range" }, "opacity ", opacity, amount);
  const layer = choiceOf("layer", model.get("layers"), (value) => put("layer", value));
  layer.node.hidden = model.get("layers").length < 2;
  const pages = pager(pairs.length, (index) => put("index", index), "pair");
  const bar = make("div", { className: "bar" }, layer.node,
    make("label", { className: "range" }, "line ", slider), strength, pages);
  const readout = make("div", { className: "readout", "aria-live": "polite" });
  const table = make("table", { className: "scores" });
  const shown = make("div", { className: "pictured" }, stage);
  const root = make("div", { className: "segbook-widget segbook-wipe" }, bar, readout,
    make("div", { className: "beside" }, shown, table));
  el.append(root);

  function draw() {
    if (!pair) return;
    const { width, height } = pair;
    const position = model.get("position");
    const cut = Math.round(position * width);
    const context = canvas.getContext("2d");
    context.globalAlpha = 1;
    context.clearRect(0, 0, width, height);
    if (pair.image) context.drawImage(pair.image, 0, 0);
    context.globalAlpha = pair.image ? model.get("opacity") : 1;
    const [left, right] = pair.layers[model.get("layer")];
    if (cut) context.drawImage(left, 0, 0, cut, height, 0, 0, cut, height);
    if (cut < width) context.drawImage(right, cut, 0, width - cut, height, cut, 0, width - cut, height);
    line.style.left = `${100 * position}%`;
    slider.value = Math.round(100 * position);
    sides[0].hidden = position < 0.08;
    sides[1].hidden = position > 0.92;
  }

  function settings() {
    layer.show(model.get("layer"));
    opacity.value = Math.round(100 * model.get("opacity"));
    amount.value = `${opacity.value} %`;
  }

  function ask(pixel) {
    if (!pair) return;
    probe = pixel;
    placeMark(mark, canvas, probe);
    readout.replaceChildren();
    if (!classes.length) {
      readout.append("Drag the line, or move it by the arrow keys.");
      return;
    }
    if (!probe) {
      const scored = pair.scores
        ? names.map((name, k) => `${name}: mIoU ${hundredth(pair.scores[k].miou)} on this image. `).join("") : "";
      readout.append(`${scored}The two differ in ${percent(pair.differ, pair.ids[0].length)} of the pixels. `
        + "Drag the line; point at a pixel to learn both classes.");
      return;
    }
    const i = probe[1] * pair.width + probe[0];
    pair.ids.forEach((ids, k) => readout.append(known.swatch(ids[i]),
      make("span", {}, `${names[k]} `, make("b", {}, known.title(ids[i])))));
    if (pair.truth) readout.append(known.swatch(pair.truth[i]),
      make("span", {}, "truth ", make("b", {}, known.title(pair.truth[i]))));
    readout.append(make("span", {}, `x ${probe[0]}, y ${probe[1]}`));
  }

  /** The legend: classes that are there, with both IoU where there is a truth. */
  function list() {
    table.hidden = !classes.length;
    if (!classes.length) return;
    const present = new Set(pair.ids.flatMap((ids) => [...new Set(ids)]));
    for (const id of pair.truth ?? []) present.add(id);
    const head = pair.scores ? names.map((name) => make("th", { scope: "col" }, name)) : [];
    const first = make("th", { scope: "col" }, pair.scores ? "IoU, %" : "class");
    const numbers = (values) => values.map((value, k) => make("td",
      { className: Number(hundredth(value)) > Number(hundredth(values[1 - k])) ? "better" : "" }, hundredth(value)));
    const rows = [...present].sort((a, b) => a - b).map((id) => make("tr", {},
      make("td", {}, known.swatch(id), id === ignore ? "void (not counted)" : known.title(id)),
      ...(pair.scores ? (id === ignore ? [make("td"), make("td")] : numbers(pair.scores.map((one) => one.iou[id]))) : [])));
    if (pair.scores) rows.push(make("tr", { className: "mean" }, make("td", {}, "mean"),
      ...pair.scores.map((one) => make("td", {}, hundredth(one.miou)))));
    table.replaceChildren(make("thead", {}, make("tr", {}, first, ...head)), make("tbody", {}, ...rows));
  }

  async function open() {
    const index = model.get("index");
    try {
      if (!opened.has(index)) opened.set(index, openPair(pairs[index], { palette, ignore, classes }));
      const ready = await opened.get(index);
      if (index !== model.get("index")) return; // turned on meanwhile
      pair = ready;
    } catch (error) {
      tell(root, error);
      return;
    }
    fitCanvas(canvas, stage, pair.width, pair.height);
    root.style.maxWidth = `${Math.max(pair.width, 640) + (classes.length ? 240 : 0)}px`;
    canvas.setAttribute("aria-label", `${names[0]} left of a line, ${names[1]} right of it; arrow keys left and `
      + "right move the line, up and down the pixel asked about on it");
    strength.hidden = !pair.image;
    pages.show(index, pairs[index].name);
    draw();
    list();
    ask(null);
    root.dataset.ready = index;
  }

  const moveTo = (share) => put("position", Math.min(Math.max(share, 0), 1));
  const drag = (event) => {
    const box = canvas.getBoundingClientRect();
    moveTo((event.clientX - box.left) / box.width);
  };
  canvas.addEventListener("pointerdown", (event) => {
    dragged = true;
    canvas.setPointerCapture(event.pointerId);
    drag(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (dragged) drag(event);
    ask(pixelUnder(event, canvas, canvas.width, canvas.height));
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { dragged = false; });
  canvas.addEventListener("pointerleave", () => ask(null));
  canvas.addEventListener("blur", () => ask(null));
  canvas.addEventListener("keydown", (event) => {
    const [across, down] = MOVES[event.key] ?? { Home: [-100, 0], End: [100, 0] }[event.key] ?? [];
    if (across === undefined || !pair) return;
    event.preventDefault();
    const step = event.shiftKey ? 10 : 1;
    if (across) moveTo(model.get("position") + (step * across) / 100);
    row = clamp((row ?? pair.height >> 1) + step * down, 0, pair.height - 1);
    ask([Math.min(Math.floor(model.get("position") * pair.width), pair.width - 1), row]);
  });
  slider.addEventListener("input", () => moveTo(slider.value / 100));
  opacity.addEventListener("input", () => put("opacity", opacity.value / 100));
  settings();
  open();
  return listen(model, {
    "change:position": draw, "change:opacity": () => { settings(); draw(); }, "change:layer": () => { settings(); draw(); }, "change:index": open,
  });
}

export default { render };
