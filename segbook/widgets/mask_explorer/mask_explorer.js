// The mask explorer, all of it: Python only hands over pictures, class ids and the first settings.
//
// Class ids come as zlib streams of raw bytes, not as pictures: a canvas that is read back may be
// changed by colour management or by a browser's guard against fingerprinting; bytes may not.

const RIGHT = [235, 235, 235];
const WRONG = [213, 94, 0];
const TALLEST = 2.5; // heights of a picture in widths of the page

/** Decode a sample: a bitmap to look at, class ids to compute with, pixels counted by class. */
async function decode(sample, ignore) {
  const [image, truth, prediction] = await Promise.all([
    decodeImage(sample.image),
    inflate(sample.truth),
    sample.prediction ? inflate(sample.prediction) : null,
  ]);
  const inTruth = new Array(256).fill(0);
  const inPrediction = new Array(256).fill(0);
  let wrong = 0;
  for (let i = 0; i < truth.length; i++) {
    inTruth[truth[i]]++;
    if (!prediction) continue;
    inPrediction[prediction[i]]++;
    if (truth[i] !== ignore && truth[i] !== prediction[i]) wrong++;
  }
  const labelled = truth.length - inTruth[ignore];
  const { width, height, name } = sample;
  return { width, height, name, image, truth, prediction, inTruth, inPrediction, wrong, labelled };
}

/** The colours of one layer, opaque or not there at all. */
function paint(scene, layer, hidden, names) {
  const { width, height, truth, prediction } = scene;
  const table = names.table(hidden);
  if (layer !== "error") return paintIds(layer === "truth" ? truth : prediction, width, height, table);
  // Right, wrong, void; what is hidden goes by the truth, and stays clear.
  const verdicts = truth.map((id, i) => (!table[id] ? 3 : id === names.ignore ? 2 : id === prediction[i] ? 0 : 1));
  return paintIds(verdicts, width, height, [RIGHT, WRONG, STRIPES]);
}

function render({ model, el }) {
  const ignore = model.get("ignore");
  const names = new ClassList(model.get("classes"), model.get("palette"), ignore);
  const samples = model.get("samples");
  const decoded = new Map(); // index -> promise of a scene
  let scene = null;
  let painted = null;
  let probe = null; // the pixel that is asked about, [x, y]

  const canvas = make("canvas", { tabIndex: 0, role: "img" });
  const cross = make("div", { className: "cross", hidden: true });
  const slider = make("input", { type: "range", min: 0, max: 100, step: 1 });
  const amount = make("output");
  const readout = make("div", { className: "readout", "aria-live": "polite" });
  const chips = make("div", { className: "chips", role: "group", "aria-label": "classes" });
  const pages = pager(samples.length, (index) => change(model, "index", index));
  const layers = segments(model.get("layers").map((value) => [value, value]),
    (value) => change(model, "layer", value), "layer");
  const opacity = make("label", { className: "range" }, "opacity ", slider, amount);
  const bar = make("div", { className: "bar" }, layers, opacity, pages);
  const stage = make("div", { className: "stage" }, canvas, cross);
  const root = make("div", { className: "segbook-widget segbook-explorer" }, bar, readout, stage, chips);
  el.append(root);

  function draw() {
    if (!scene) return;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.globalAlpha = 1;
    context.drawImage(scene.image, 0, 0);
    context.globalAlpha = model.get("opacity");
    context.drawImage(painted, 0, 0);
  }

  function repaint() {
    if (!scene) return;
    painted = paint(scene, model.get("layer"), model.get("hidden"), names);
    draw();
  }

  function showProbe() {
    cross.hidden = !probe;
    readout.replaceChildren();
    if (!scene) return;
    if (!probe) {
      const share = scene.prediction
        ? `${percent(scene.wrong, scene.labelled)} of the labelled pixels are wrong (orange under "error"). ` : "";
      readout.append(`${share}Point at a pixel to learn its class.`);
      return;
    }
    const [x, y] = probe;
    const id = scene.truth[y * scene.width + x];
    readout.append(names.swatch(id), make("span", {}, "truth ", make("b", {}, nameOf(names.title(id)))));
    if (scene.prediction) {
      const predicted = scene.prediction[y * scene.width + x];
      const verdict = id === ignore ? "not counted" : predicted === id ? "right" : "wrong";
      readout.append(names.swatch(predicted), make("span", {}, "predicted ", make("b", {}, nameOf(names.title(predicted)))),
        make("span", { className: `verdict ${verdict.replace(" ", "-")}` }, verdict));
    }
    readout.append(make("span", { className: "position" }, `x ${x}, y ${y}`));
    cross.style.left = `${(100 * (x + 0.5)) / scene.width}%`;
    cross.style.top = `${(100 * (y + 0.5)) / scene.height}%`;
  }

  function listClasses() {
    const focused = chips.contains(document.activeElement) && document.activeElement.dataset.id;
    const hidden = new Set(model.get("hidden"));
    const present = [...scene.inTruth.keys()].filter((id) => scene.inTruth[id] || scene.inPrediction[id]);
    const pixels = scene.truth.length;
    chips.replaceChildren(...present.map((id) => {
      const shares = [`${percent(scene.inTruth[id], pixels)} of the truth`];
      if (scene.prediction) shares.push(`${percent(scene.inPrediction[id], pixels)} of the prediction`);
      const chip = make("button", {
        type: "button", "data-id": id, "aria-pressed": String(!hidden.has(id)),
        title: `${names.title(id)}: ${shares.join(", ")}. Click: on or off; with shift: this one alone.`,
      }, names.swatch(id), nameOf(names.title(id)));
      chip.addEventListener("click", (event) => {
        if (event.shiftKey) hidden.clear(), present.forEach((k) => k !== id && hidden.add(k));
        else if (!hidden.delete(id)) hidden.add(id);
        change(model, "hidden", [...hidden].sort((a, b) => a - b));
      });
      return chip;
    }));
    const every = make("button", { type: "button", className: "every", "data-id": "every" },
      hidden.size ? "show all" : "hide all");
    every.addEventListener("click", () => change(model, "hidden", hidden.size ? [] : present));
    chips.append(every);
    if (focused) chips.querySelector(`[data-id="${focused}"]`)?.focus();
  }

  function settings() {
    layers.value = model.get("layer");
    slider.value = Math.round(100 * model.get("opacity"));
    amount.value = `${slider.value} %`;
  }

  async function open() {
    const index = model.get("index");
    if (!decoded.has(index)) decoded.set(index, decode(samples[index], ignore));
    try {
      const ready = await decoded.get(index);
      if (index !== model.get("index")) return; // turned on meanwhile
      scene = ready;
    } catch (error) {
      root.replaceChildren(make("p", { role: "alert" }, `This picture cannot be shown: ${error}`));
      return;
    }
    const { width, height, name } = scene;
    Object.assign(canvas, { width, height });
    canvas.setAttribute("aria-label", `${name || "image"}; arrow keys move the point asked about`);
    // Small pictures are enlarged, with their pixels kept square: labels are made of pixels.
    root.style.maxWidth = `${Math.max(width, 640)}px`;
    stage.style.width = `${100 * Math.min(1, (TALLEST * width) / height)}%`;
    canvas.classList.toggle("enlarged", width < 640);
    pages.show(index, name);
    probe = null;
    repaint();
    listClasses();
    showProbe();
    root.dataset.ready = index; // tests and style sheets may wait for it
  }

  const ask = (pixel) => { probe = pixel; showProbe(); };
  canvas.addEventListener("pointermove", (event) => {
    if (scene) ask(pixelUnder(event, canvas, scene.width, scene.height));
  });
  const leave = () => ask(null);
  canvas.addEventListener("pointerleave", leave);
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("keydown", (event) => {
    if (!scene) return;
    const { width, height } = scene;
    const pixel = keyMove(event, probe ?? [width >> 1, height >> 1], width, height);
    if (pixel) ask(pixel);
  });
  slider.addEventListener("input", () => change(model, "opacity", slider.value / 100));

  const stop = listen(model, {
    "change:opacity": () => { settings(); draw(); },
    "change:layer": () => { settings(); repaint(); },
    "change:hidden": () => { if (scene) { repaint(); listClasses(); } },
    "change:index": open,
  });
  settings();
  open();
  return stop;
}

export default { render };
