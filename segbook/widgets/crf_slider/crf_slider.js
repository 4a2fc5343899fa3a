// The CRF slider: all rounds are here as label maps; a choice is decoded when it is first looked at.

const KERNELS = { both: "both", appearance: "appearance alone", smoothness: "smoothness alone" };

/** Labels after a round, out of all rounds one after the other. */
const roundOf = (ids, round, pixels) => ids.subarray(round * pixels, (round + 1) * pixels);

/** Which ids are no longer what they were, as a mask. */
const changedFrom = (before, after) => after.map((id, i) => (id === before[i] ? 0 : 1));

function render({ model, el }) {
  const [[height, width], rounds, classes, palette, ignore, presets, values, layers] = [
    model.get("size"), model.get("rounds"), model.get("classes"), model.get("palette"),
    model.get("ignore"), model.get("presets"), model.get("values"), model.get("layers"),
  ];
  const pixels = height * width;
  const opened = new Map();
  let image = null;
  let truth = null;
  let ids = null; // of all rounds
  let probe = null;
  let held = false; // the network's own is shown for as long
  const known = new ClassList(classes, palette, ignore);
  const put = (key, value) => change(model, key, value);

  const canvas = make("canvas", { tabIndex: 0, role: "img" });
  const mark = make("div", { className: "cross", hidden: true });
  const stage = make("div", { className: "stage" }, canvas, mark);
  const slider = make("input", { type: "range", min: 0, max: rounds, step: 1, "aria-label": "round" });
  const told = make("output");
  const hold = make("button", { type: "button", className: "hold" }, "hold: before");
  const terms = choiceOf("kernels", Object.keys(KERNELS), (value) => put("terms", value), KERNELS);
  const preset = choiceOf("settings", presets, (value) => put("preset", value));
  preset.node.hidden = presets.length < 2;
  const layer = choiceOf("layer", layers, (value) => put("layer", value));
  const opacity = make("input", { type: "range", min: 0, max: 100, step: 1 });
  const settings = make("div", { className: "settings" });
  const readout = make("div", { className: "readout", "aria-live": "polite" });
  const table = make("table", { className: "scores" });
  const root = make("div", { className: "segbook-widget segbook-crf" },
    make("div", { className: "bar" }, terms.node, preset.node),
    make("div", { className: "bar" }, layer.node, make("label", { className: "range" }, "opacity ", opacity)),
    settings, make("div", { className: "time" }, slider, told, hold), readout,
    make("div", { className: "beside" }, make("div", { className: "pictured" }, stage), table));
  el.append(root);
  const now = () => (held ? 0 : model.get("round"));

  function draw() {
    const after = roundOf(ids, now(), pixels);
    const kind = model.get("layer");
    const context = canvas.getContext("2d");
    context.globalAlpha = 1;
    context.drawImage(image, 0, 0);
    context.globalAlpha = model.get("opacity");
    const options = { palette, ignore };
    if (kind === "error") options.truth = truth;
    const shown = kind !== "changed" ? paintLabels(after, width, height, options)
      : paintLabels(changedFrom(roundOf(ids, 0, pixels), after), width, height,
        { palette: [RIGHT_GREY, WRONG_VIOLET], ignore });
    context.drawImage(shown, 0, 0);
  }

  function ask(pixel) {
    if (!ids) return;
    probe = pixel;
    placeMark(mark, canvas, probe);
    readout.replaceChildren();
    const before = roundOf(ids, 0, pixels);
    const after = roundOf(ids, now(), pixels);
    if (!probe) {
      const changed = changedFrom(before, after).reduce((sum, one) => sum + one, 0);
      readout.append(`${percent(changed, pixels)} of the pixels are no longer what the network said. `
        + "Point at a pixel to learn its class.");
      return;
    }
    const i = probe[1] * width + probe[0];
    const parts = [["network", before[i]], [`round ${now()}`, after[i]]];
    if (truth) parts.push(["truth", truth[i]]);
    for (const [name, id] of parts) {
      readout.append(known.swatch(id), make("span", {}, `${name} `, make("b", {}, known.title(id))));
    }
  }

  /** The legend: classes that are there, with IoU before and after, or with their areas. */
  function list() {
    const maps = [roundOf(ids, 0, pixels), roundOf(ids, now(), pixels)];
    const scores = truth && maps.map((one) => scoreLabels(one, truth, classes.length, ignore));
    const present = [...new Set([...new Set(maps[0]), ...new Set(maps[1]), ...new Set(truth ?? [])])]
      .filter((id) => id !== ignore).sort((a, b) => a - b);
    const area = (one, id) => one.reduce((sum, each) => sum + (each === id), 0) / pixels;
    const numbers = (pair) => pair.map((value, k) => make("td",
      { className: k && Number(hundredth(value)) > Number(hundredth(pair[0])) ? "better" : "" }, hundredth(value)));
    const rows = present.map((id) => make("tr", {}, make("td", {}, known.swatch(id), classes[id]),
      ...numbers(scores ? scores.map((one) => one.iou[id]) : maps.map((one) => area(one, id)))));
    if (scores) rows.push(make("tr", { className: "mean" }, make("td", {}, "mean"),
      ...numbers(scores.map((one) => one.miou))));
    const heads = [scores ? "IoU, %" : "area, %", "before", `round ${now()}`];
    table.replaceChildren(
      make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
      make("tbody", {}, ...rows));
  }

  /** The settings as the paper writes them; those of a kernel that is off struck out. */
  function name() {
    const [w1, alpha, beta, w2, gamma] = values[presets.indexOf(model.get("preset"))];
    const used = model.get("terms");
    settings.replaceChildren(
      make("span", { className: used === "smoothness" ? "off" : "" }, "appearance: w₁ ", make("b", {}, `${w1}`),
        ", θα ", make("b", {}, `${alpha}`), " px, θβ ", make("b", {}, `${beta}`), " levels"), " · ",
      make("span", { className: used === "appearance" ? "off" : "" }, "smoothness: w₂ ", make("b", {}, `${w2}`),
        ", θγ ", make("b", {}, `${gamma}`), " px"));
  }

  function show() {
    if (!ids) return;
    const round = now();
    slider.value = model.get("round");
    told.value = round === 0 ? "round 0: network" : `round ${round}`;
    slider.setAttribute("aria-valuetext", told.value);
    terms.show(model.get("terms"));
    preset.show(model.get("preset"));
    layer.show(model.get("layer"));
    opacity.value = Math.round(100 * model.get("opacity"));
    name();
    draw();
    list();
    ask(probe);
  }

  async function open() {
    const key = `${model.get("preset")}/${model.get("terms")}`;
    try {
      image ??= await decodeImage(model.get("image"), "image/jpeg");
      if (!truth && model.get("truth")) truth = await inflate(model.get("truth"));
      if (!opened.has(key)) opened.set(key, inflate(model.get("maps")[key]));
      const ready = await opened.get(key);
      if (key !== `${model.get("preset")}/${model.get("terms")}`) return; // turned on meanwhile
      ids = ready;
    } catch (error) {
      tell(root, error);
      return;
    }
    show();
    root.dataset.ready = key;
  }

  fitCanvas(canvas, stage, width, height);
  root.style.maxWidth = "900px";
  canvas.setAttribute("aria-label", "labels over the image; arrow keys left and right go through the rounds");
  const go = (round) => put("round", Math.min(Math.max(round, 0), rounds));
  slider.addEventListener("input", () => go(Number(slider.value)));
  opacity.addEventListener("input", () => put("opacity", opacity.value / 100));
  const holding = (value) => { if (held !== value) { held = value; show(); } };
  hold.addEventListener("pointerdown", () => holding(true));
  for (const event of ["pointerup", "pointerleave", "keyup", "blur"]) hold.addEventListener(event, () => holding(false));
  hold.addEventListener("keydown", (event) => { if (event.key === " " || event.key === "Enter") holding(true); });
  canvas.addEventListener("pointermove", (event) => ask(pixelUnder(event, canvas, canvas.width, canvas.height)));
  for (const event of ["pointerleave", "blur"]) canvas.addEventListener(event, () => ask(null));
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -rounds, End: rounds }[event.key];
    if (!move) return;
    event.preventDefault();
    go(model.get("round") + move);
  });
  open();
  return listen(model, { "change:round": show, "change:layer": show, "change:opacity": show, "change:terms": open, "change:preset": open });
}

export default { render };
