// The stride explorer: Python hands over the truth, its oracle at every stride, and their scores.

/** A score in percent with one digit; a dash where there is none. */
const score = (value) => (value === null ? "–" : (100 * value).toFixed(1));

async function decode({ width, height, name, truth, oracles, scores }) {
  const [first, ...rest] = await Promise.all([truth, ...oracles].map(inflate));
  const traced = (ids) => ({ ids, edges: borders(ids, width, height) });
  return { width, height, name, scores, truth: traced(first), oracles: rest.map(traced) };
}

function render({ model, el }) {
  const samples = model.get("samples");
  const strides = model.get("strides");
  const overall = model.get("overall");
  const names = new ClassList(model.get("classes"), model.get("palette"), model.get("ignore"));
  const decoded = new Map(); // index -> promise of a scene
  let scene = null;
  let probe = null; // the pixel that is asked about, [x, y]

  const slider = make("input", { type: "range", min: 0, max: strides.length - 1, step: 1, "aria-label": "stride" });
  const amount = make("output");
  const pages = pager(samples.length, (index) => change(model, "index", index), "mask");
  const readout = make("div", { className: "readout", "aria-live": "polite" });
  const side = (what) => {
    const canvas = make("canvas", { tabIndex: 0, role: "img" });
    const cross = make("div", { className: "cross", hidden: true });
    const caption = make("figcaption", {}, what);
    const node = make("figure", {}, make("div", { className: "stage" }, canvas, cross), caption);
    return { canvas, cross, caption, node };
  };
  const [left, right] = [side("truth"), side("oracle")];
  const table = make("table", {});
  const root = make("div", { className: "segbook-widget segbook-stride" },
    make("div", { className: "bar" }, make("label", { className: "range" }, "stride ", slider, amount), pages),
    readout, make("div", { className: "parts" }, left.node, right.node, table));
  el.append(root);

  const at = () => strides.indexOf(model.get("stride"));

  function draw({ canvas }, { ids, edges }, stride = 0) {
    const { width, height } = scene;
    const zoom = zoomFor(width);
    Object.assign(canvas, { width: width * zoom, height: height * zoom });
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(paintIds(ids, width, height, names.table()), 0, 0, canvas.width, canvas.height);
    strokeBorders(context, edges, zoom);
    if (stride * zoom < 12) return; // cells too small to be seen
    const grid = new Path2D();
    for (let x = stride; x < width; x += stride) grid.moveTo(x, 0), grid.lineTo(x, height);
    for (let y = stride; y < height; y += stride) grid.moveTo(0, y), grid.lineTo(width, y);
    strokeBorders(context, grid, zoom, "rgb(0 0 0 / 55%)", 1);
  }

  function tabulate() {
    const [one, every] = [scene.scores[at()], overall[at()]];
    const many = samples.length > 1;
    const row = (head, value, total, className = "") => make("tr", { className },
      make("th", { scope: "row" }, ...head),
      make("td", { className: "track" }, make("span", { className: "fill", style: `width: ${100 * (value ?? 0)}%` })),
      make("td", {}, score(value)), ...(many ? [make("td", {}, score(total))] : []));
    const present = one.iou.map((_, id) => id).filter((id) => every.iou[id] !== null
      || scene.scores.some(({ iou }) => iou[id] !== null));
    table.replaceChildren(
      make("caption", {}, `IoU in % at stride ${strides[at()]}`),
      ...(many ? [make("tr", {}, make("th"), make("th"), make("th", { scope: "col" }, "this"),
        make("th", { scope: "col" }, `all ${samples.length}`))] : []),
      row(["mean"], one.miou, every.miou, "mean"),
      ...present.map((id) => row([names.swatch(id), " ", nameOf(names.title(id))], one.iou[id], every.iou[id])));
  }

  function showProbe() {
    readout.replaceChildren();
    for (const { cross } of [left, right]) cross.hidden = !probe;
    if (!scene) return;
    if (!probe) {
      readout.append("Move the slider; point at a pixel to read its class on both sides. The grid shows the cells.");
      return;
    }
    const [x, y] = probe;
    const truth = scene.truth.ids[y * scene.width + x];
    const oracle = scene.oracles[at()].ids[y * scene.width + x];
    const verdict = truth === names.ignore ? "not counted" : truth === oracle ? "right" : "wrong";
    for (const [what, id] of [["truth", truth], ["oracle", oracle]]) {
      readout.append(names.swatch(id), make("span", {}, `${what} `, make("b", {}, nameOf(names.title(id)))));
    }
    readout.append(make("span", { className: `verdict ${verdict.replace(" ", "-")}` }, verdict),
      make("span", { className: "position" }, `x ${x}, y ${y}`));
    for (const { cross } of [left, right]) {
      cross.style.left = `${(100 * (x + 0.5)) / scene.width}%`;
      cross.style.top = `${(100 * (y + 0.5)) / scene.height}%`;
    }
  }

  function update() {
    if (!scene) return;
    const stride = model.get("stride");
    slider.value = at();
    amount.value = `${stride}`;
    slider.setAttribute("aria-valuetext", `${stride} pixels`);
    draw(left, scene.truth, stride);
    draw(right, scene.oracles[at()]);
    left.caption.textContent = `truth, in cells of ${stride} × ${stride} pixels`;
    right.caption.textContent = `oracle of stride ${stride}: mIoU ${score(scene.scores[at()].miou)}`;
    tabulate();
    showProbe();
  }

  async function open() {
    const index = model.get("index");
    if (!decoded.has(index)) decoded.set(index, decode(samples[index]));
    try {
      const ready = await decoded.get(index);
      if (index !== model.get("index")) return; // turned on meanwhile
      scene = ready;
    } catch (error) {
      root.replaceChildren(make("p", { role: "alert" }, `This mask cannot be shown: ${error}`));
      return;
    }
    for (const [what, { canvas }] of Object.entries({ truth: left, oracle: right })) {
      canvas.setAttribute("aria-label", `${what} ${scene.name}; arrow keys move the point asked about`);
    }
    pages.show(index, scene.name);
    probe = null;
    update();
    root.dataset.ready = index; // tests and style sheets may wait for it
  }

  const ask = (pixel) => {
    probe = pixel;
    showProbe();
  };
  for (const { canvas } of [left, right]) {
    canvas.addEventListener("pointermove", (event) => {
      if (scene) ask(pixelUnder(event, canvas, scene.width, scene.height));
    });
    for (const end of ["pointerleave", "blur"]) canvas.addEventListener(end, () => ask(null));
    canvas.addEventListener("keydown", (event) => {
      if (!scene) return;
      const { width, height } = scene;
      const moved = keyMove(event, probe ?? [width >> 1, height >> 1], width, height);
      if (moved) ask(moved);
    });
  }
  slider.addEventListener("input", () => change(model, "stride", strides[slider.value]));
  const stop = listen(model, { "change:stride": update, "change:index": open });
  open();
  return stop;
}

export default { render };
