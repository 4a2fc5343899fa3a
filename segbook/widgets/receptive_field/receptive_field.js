// The receptive-field pointer. Python sends, for each map, the box of its first unit and the heat of
// a unit in its middle; all others are these, moved by whole strides.

/** Where the unit nearest to a pixel has its own row and column: [row, column] in pixels. */
function placeUnit(field, [x, y]) {
  const middle = field.whole ? [0, 0]
    : [field.top + (field.height - 1) / 2, field.left + (field.width - 1) / 2];
  return [y, x].map((at, k) => field.stride * Math.floor((at - middle[k]) / field.stride + 0.5));
}

/** The heat of a map as a canvas, one pixel a cell: one colour, more or less opaque. */
function paintHeat(cells, rows, columns) {
  const canvas = make("canvas", { width: columns, height: rows });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(columns, rows);
  for (let i = 0; i < cells.length; i++) {
    picture.data.set([213, 94, 0, Math.round(0.92 * cells[i])], 4 * i);
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

/** What is said of a map. */
function describeField(field) {
  const size = field.whole ? "the whole image" : `${field.height} × ${field.width} pixels`;
  return [`could see ${size}`, `stride ${field.stride}`,
    `${(100 * field.inner).toFixed(0)} % of its gradient lies in the middle half of the box`];
}

function render({ model, el }) {
  const names = model.get("names");
  const fields = model.get("fields");
  const dilations = model.get("dilations");
  const width = model.get("width");
  const height = model.get("height");
  const change = (key, value) => { model.set(key, value); model.save_changes(); };
  const heats = new Map();
  let photograph = null;

  const canvas = make("canvas", { width, height, tabIndex: 0, role: "img" });
  const depth = segments(names.map((name, i) => [String(i), name]),
    (value) => change("depth", Number(value)), "depth");
  const rates = segments(dilations.map((rate) => [String(rate), `rate ${rate}`]),
    (value) => change("dilation", Number(value)), "dilation");
  rates.hidden = dilations.length < 2;
  const tick = make("input", { type: "checkbox" });
  const readout = make("div", { className: "readout", "aria-live": "polite" });
  const box = make("span", { className: "swatch outline" });
  const heat = make("span", { className: "swatch" });
  heat.style.backgroundColor = "rgb(213, 94, 0)";
  const legend = make("div", { className: "legend" }, box,
    "what the unit could see (by kernel, stride, dilation, padding)", heat,
    "how strongly it depends on each pixel (root of the gradient of a unit in the middle of the map)");
  const bar = make("div", { className: "bar" }, depth, rates, make("label", {}, tick, " gradient"));
  const stage = make("div", { className: "stage" }, canvas);
  el.append(make("div", { className: "segbook-widget segbook-field" }, bar, readout, stage, legend));

  const field = () =>
    fields[dilations.indexOf(model.get("dilation")) * names.length + model.get("depth")];

  function draw() {
    if (!photograph) return;
    const context = canvas.getContext("2d");
    const shown = field();
    const [row, column] = placeUnit(shown, model.get("point"));
    context.filter = "grayscale(1) brightness(0.95)";
    context.drawImage(photograph, 0, 0);
    context.filter = "none";
    context.imageSmoothingEnabled = false;
    if (model.get("heat")) {
      context.drawImage(heats.get(shown), column + shown.heat_left, row + shown.heat_top,
        shown.columns * shown.cell, shown.rows * shown.cell);
    }
    if (!shown.whole) {
      const thick = Math.max(1, Math.max(width, height) / 320);
      for (const [colour, times] of [["#000", 2.2], ["#fff", 1.1]]) {
        context.strokeStyle = colour;
        context.lineWidth = thick * times;
        context.strokeRect(column + shown.left, row + shown.top, shown.width, shown.height);
      }
    }
    readout.replaceChildren(make("b", {}, shown.name),
      ...describeField(shown).map((part) => make("span", {}, part)),
      make("span", { className: "position" }, `x ${model.get("point")[0]}, y ${model.get("point")[1]}`));
    canvas.setAttribute("aria-label", `${shown.name} ${describeField(shown).join(", ")}`);
  }

  function settings() {
    depth.value = String(model.get("depth"));
    rates.value = String(model.get("dilation"));
    tick.checked = model.get("heat");
    draw();
  }

  canvas.addEventListener("pointermove", (event) =>
    change("point", pixelUnder(event, canvas, width, height)));
  canvas.addEventListener("keydown", (event) => {
    const moved = keyMove(event, model.get("point"), width, height);
    if (moved) change("point", moved);
  });
  tick.addEventListener("change", () => change("heat", tick.checked));
  const stop = listen(model, {
    "change:point": draw, "change:depth": settings, "change:dilation": settings,
    "change:heat": settings,
  });
  (async () => {
    const blob = new Blob([toBytes(model.get("photograph"))], { type: "image/jpeg" });
    const picture = await createImageBitmap(blob);
    for (const each of fields) {
      heats.set(each, paintHeat(await inflate(each.stamp), each.rows, each.columns));
    }
    photograph = picture;
    settings();
    el.firstChild.dataset.ready = "yes";
  })();
  settings();
  return stop;
}

export default { render };
