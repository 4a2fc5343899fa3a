// The mask explorer, all of it: Python only hands over pictures, class ids and the first settings.
//
// Class ids come as zlib streams of raw bytes, not as pictures: a canvas that is read back may be
// changed by colour management or by a browser's guard against fingerprinting; bytes may not.

const NAMES = { truth: "truth", prediction: "prediction", error: "error" };
const RIGHT = [235, 235, 235];
const WRONG = [213, 94, 0];
const TALLEST = 2.5; // heights of a picture in widths of the page
const STRIPES = [[40, 40, 40], [150, 150, 150]];

/** Decode a sample: a bitmap to look at, class ids to compute with, pixels counted by class. */
async function decode(sample, ignore) {
  const blob = new Blob([toBytes(sample.image)], { type: "image/png" });
  const [image, truth, prediction] = await Promise.all([
    createImageBitmap(blob, { colorSpaceConversion: "none" }),
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
function paint(scene, { layer, hidden, palette, ignore }) {
  const { width, height, truth, prediction } = scene;
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const ids = layer === "prediction" ? prediction : truth;
  const shown = new Array(256).fill(true);
  for (const id of hidden) shown[id] = false;
  const band = Math.max(2, Math.round(Math.max(width, height) / 100));
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const id = ids[i];
      if (!shown[id]) continue;
      let colour = palette[id];
      if (id === ignore) colour = STRIPES[Math.floor((x + y) / band) % 2];
      else if (layer === "error") colour = prediction[i] === id ? RIGHT : WRONG;
      picture.data.set(colour, 4 * i);
      picture.data[4 * i + 3] = 255;
    }
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

function render({ model, el }) {
  const classes = model.get("classes");
  const palette = model.get("palette");
  const ignore = model.get("ignore");
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
  const previous = make("button", { type: "button", "aria-label": "previous image" }, "‹");
  const next = make("button", { type: "button", "aria-label": "next image" }, "›");
  const place = make("span", { className: "place" });
  const pager = make("div", { className: "pager" }, previous, place, next);
  const group = `layer-${Math.random().toString(36).slice(2)}`;
  const radios = model.get("layers").map((value) =>
    make("input", { type: "radio", name: group, value }));
  const layers = make("div", { className: "layers", role: "radiogroup", "aria-label": "layer" },
    ...radios.map((radio) => make("label", {}, radio, make("span", {}, NAMES[radio.value]))));
  const opacity = make("label", { className: "opacity" }, "opacity ", slider, amount);
  const bar = make("div", { className: "bar" }, layers, opacity, pager);
  const stage = make("div", { className: "stage" }, canvas, cross);
  const root = make("div", { className: "segbook-widget segbook-explorer" }, bar, readout, stage, chips);
  el.append(root);

  const change = (key, value) => {
    model.set(key, value);
    model.save_changes();
  };
  const title = (id) => (id === ignore ? "void" : classes[id]);
  const swatch = (id) => {
    const node = make("span", { className: id === ignore ? "swatch void" : "swatch" });
    if (id !== ignore) node.style.backgroundColor = `rgb(${palette[id].join()})`;
    return node;
  };

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
    painted = paint(scene, {
      layer: model.get("layer"), hidden: model.get("hidden"), palette, ignore,
    });
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
    readout.append(swatch(id), make("span", {}, "truth ", make("b", {}, title(id))));
    if (scene.prediction) {
      const predicted = scene.prediction[y * scene.width + x];
      const verdict = id === ignore ? "not counted" : predicted === id ? "right" : "wrong";
      readout.append(swatch(predicted), make("span", {}, "predicted ", make("b", {}, title(predicted))),
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
        title: `${title(id)}: ${shares.join(", ")}. Click: on or off; with shift: this one alone.`,
      }, swatch(id), title(id));
      chip.addEventListener("click", (event) => {
        if (event.shiftKey) hidden.clear(), present.forEach((k) => k !== id && hidden.add(k));
        else if (!hidden.delete(id)) hidden.add(id);
        change("hidden", [...hidden].sort((a, b) => a - b));
      });
      return chip;
    }));
    const every = make("button", { type: "button", className: "every", "data-id": "every" },
      hidden.size ? "show all" : "hide all");
    every.addEventListener("click", () => change("hidden", hidden.size ? [] : present));
    chips.append(every);
    if (focused) chips.querySelector(`[data-id="${focused}"]`)?.focus();
  }

  function settings() {
    for (const radio of radios) radio.checked = radio.value === model.get("layer");
    slider.value = Math.round(100 * model.get("opacity"));
    amount.value = `${slider.value} %`;
  }

  async function open() {
    const samples = model.get("samples");
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
    pager.hidden = samples.length < 2;
    place.textContent = `${index + 1} / ${samples.length}${name ? ` · ${name}` : ""}`;
    probe = null;
    repaint();
    listClasses();
    showProbe();
    root.dataset.ready = index; // tests and style sheets may wait for it
  }

  const ask = (x, y) => {
    const inside = (value, size) => Math.min(Math.max(Math.floor(value), 0), size - 1);
    probe = [inside(x, scene.width), inside(y, scene.height)];
    showProbe();
  };
  canvas.addEventListener("pointermove", (event) => {
    if (!scene) return;
    const box = canvas.getBoundingClientRect();
    ask(((event.clientX - box.left) * scene.width) / box.width,
      ((event.clientY - box.top) * scene.height) / box.height);
  });
  const leave = () => { probe = null; showProbe(); };
  canvas.addEventListener("pointerleave", leave);
  canvas.addEventListener("blur", leave);
  const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (!move || !scene) return;
    event.preventDefault();
    const step = event.shiftKey ? 10 : 1;
    const [x, y] = probe ?? [scene.width >> 1, scene.height >> 1];
    ask(x + step * move[0], y + step * move[1]);
  });
  for (const radio of radios) radio.addEventListener("change", () => change("layer", radio.value));
  slider.addEventListener("input", () => change("opacity", slider.value / 100));
  const turn = (by) => {
    const count = model.get("samples").length;
    change("index", (model.get("index") + by + count) % count);
  };
  previous.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));

  const listeners = {
    "change:opacity": () => { settings(); draw(); },
    "change:layer": () => { settings(); repaint(); },
    "change:hidden": () => { if (scene) { repaint(); listClasses(); } },
    "change:index": open,
  };
  for (const [name, listener] of Object.entries(listeners)) model.on(name, listener);
  settings();
  open();
  return () => {
    for (const [name, listener] of Object.entries(listeners)) model.off(name, listener);
  };
}

export default { render };
