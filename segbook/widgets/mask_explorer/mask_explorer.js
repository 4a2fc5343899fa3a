// The mask explorer, all of it: Python only hands over pictures, class ids and the first settings.
//
// Class ids come as zlib streams of raw bytes, not as pictures: a canvas that is read back may be
// changed by colour management or by a browser's guard against fingerprinting; bytes may not.
//
// The picture is a canvas of its own pixels, which style sheets enlarge and move: zooming paints
// nothing. Borders between classes are painted over it in the screen's pixels, so that they stay
// thin.

const FLATTEST = 0.2, TALLEST = 1.25; // heights of the stage in its widths
const NARROWEST = 64; // pixels of the screen that the short side of a picture takes at first
const LARGEST = 64; // pixels of the screen that a pixel of the picture takes at most
const HELP = "Drag moves, pinch or +, −, 0 zoom, so does the wheel after a click; a double click enlarges. "
  + "Arrows move the point (shift: ten), a click or Enter pins it.";

/** Decode a sample: a bitmap to look at, class ids to compute with, pixels counted by class. */
async function decode(sample, ignore) {
  const [image, truth, prediction, probs] = await Promise.all([
    decodeImage(sample.image),
    inflate(sample.truth),
    sample.prediction ? inflate(sample.prediction) : null,
    sample.probs ? inflate(sample.probs) : null,
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
  return { width, height, name, image, truth, prediction, probs, inTruth, inPrediction, wrong, labelled };
}

/** The likeliest classes of a pixel, [[id, 0..1], …]: first all ids were sent, then all shares. */
function likeliest({ probs, truth }, pixel) {
  const area = truth.length;
  const count = probs.length / area / 2;
  return Array.from({ length: count }, (_, k) =>
    [probs[k * area + pixel], probs[(count + k) * area + pixel] / 255]);
}

/** The colours of one layer, opaque or not there at all. */
function paint(scene, layer, hidden, names) {
  const { width, height, truth, prediction } = scene;
  const table = names.table(hidden);
  if (layer !== "error") return paintIds(layer === "truth" ? truth : prediction, width, height, table);
  // Right, wrong, void; what is hidden goes by the truth, and stays clear.
  const verdicts = truth.map((id, i) => (!table[id] ? 3 : id === names.ignore ? 2 : id === prediction[i] ? 0 : 1));
  return paintIds(verdicts, width, height, [RIGHT_GREY, WRONG_VIOLET, STRIPES]);
}

function render({ model, el }) {
  const ignore = model.get("ignore");
  const names = new ClassList(model.get("classes"), model.get("palette"), ignore);
  const samples = model.get("samples");
  const decoded = new Map(); // index -> promise of a scene
  let scene = null;
  let painted = null;
  let probe = null; // the pixel that is asked about, [x, y]
  let view = null; // zoom (1: all is seen) and the point in the middle, in pixels of the picture
  let place = null; // where that puts the picture on the stage: scale, left, top, in screen pixels

  const canvas = make("canvas", { className: "picture", tabIndex: 0, role: "img" });
  const edges = make("canvas", { className: "edges" });
  const cross = make("div", { className: "cross", hidden: true });
  const marks = make("div", { className: "marks" });
  const stage = make("div", { className: "stage" }, canvas, edges, marks, cross);
  const slider = make("input", { type: "range", min: 0, max: 100, step: 1 });
  const amount = make("output");
  const readout = make("div", { className: "readout", "aria-live": "polite" });
  const odds = make("div", { className: "readout odds", hidden: true });
  const pinned = make("ol", { className: "pinned", "aria-label": "pinned pixels" });
  const chips = make("div", { className: "chips", role: "group", "aria-label": "classes" });
  const pages = pager(samples.length, (index) => change(model, "index", index));
  const layers = segments(model.get("layers").map((value) => [value, value]),
    (value) => change(model, "layer", value), "layer");
  const opacity = make("label", { className: "range" }, "opacity ", slider, amount);
  const button = (text, label) => make("button", { type: "button", "aria-label": label, title: label }, text);
  const smaller = button("−", "smaller"), whole = button("100 %", "all of it"), larger = button("+", "larger");
  const zooms = make("div", { className: "zooms", role: "group", "aria-label": "zoom" }, smaller, whole, larger);
  const colours = make("select", { "aria-label": "colours" },
    make("option", { value: "given" }, "given colours"),
    make("option", { value: "distinct" }, "distinct colours"));
  const grey = make("input", { type: "checkbox" });
  const lines = make("input", { type: "checkbox" });
  const looks = make("div", { className: "looks" }, colours,
    make("label", {}, grey, " grey"), make("label", {}, lines, " borders"));
  colours.hidden = String(model.get("palette")) === String(model.get("distinct"));
  const bar = make("div", { className: "bar" }, layers, opacity, zooms, looks, pages);
  const root = make("div", { className: "segbook-widget segbook-explorer" },
    bar, readout, odds, stage, chips, pinned, make("div", { className: "help" }, HELP));
  el.append(root);

  // What is seen of the picture ------------------------------------------------------------------

  const fit = () => Math.min(stage.clientWidth / scene.width, stage.clientHeight / scene.height);
  const most = () => Math.max(1, LARGEST / fit());

  /** All of the picture; of a very long one its beginning, wide enough to be seen. */
  function home() {
    const { width, height } = scene;
    const zoom = clamp(NARROWEST / (fit() * Math.min(width, height)), 1, most());
    view = zoom > 1 ? { zoom, x: 0, y: 0 } : { zoom, x: width / 2, y: height / 2 };
    arrange();
  }

  /** Put the picture where the view says; it stays on the stage. */
  function arrange() {
    if (!scene || !view || !stage.clientWidth) return;
    const { width, height } = scene;
    const [wide, high] = [stage.clientWidth, stage.clientHeight];
    const scale = fit() * view.zoom;
    const middle = (at, size, room) =>
      (size * scale <= room ? size / 2 : clamp(at, room / 2 / scale, size - room / 2 / scale));
    view.x = middle(view.x, width, wide);
    view.y = middle(view.y, height, high);
    place = { scale, left: wide / 2 - view.x * scale, top: high / 2 - view.y * scale };
    Object.assign(canvas.style, {
      left: `${place.left}px`, top: `${place.top}px`,
      width: `${width * scale}px`, height: `${height * scale}px`,
    });
    canvas.classList.toggle("enlarged", scale > 1.2);
    canvas.classList.toggle("movable", view.zoom > 1);
    whole.textContent = `${Math.round(100 * view.zoom)} %`;
    smaller.disabled = view.zoom <= 1;
    larger.disabled = view.zoom >= most();
    root.dataset.zoom = view.zoom.toFixed(2);
    edgesLater();
    showProbe();
    placePins();
  }

  /** Zoom so that what is under a place of the stage stays under it. */
  function zoomAt(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
    if (!scene) return;
    const zoom = clamp(view.zoom * factor, 1, most());
    const scale = fit() * zoom;
    view = {
      zoom,
      x: (x - place.left) / place.scale - (x - stage.clientWidth / 2) / scale,
      y: (y - place.top) / place.scale - (y - stage.clientHeight / 2) / scale,
    };
    arrange();
  }

  const zoomBy = (factor) => (probe && cross.dataset.seen
    ? zoomAt(factor, ...onStage(probe)) : zoomAt(factor));
  const onStage = ([x, y]) => [place.left + (x + 0.5) * place.scale, place.top + (y + 0.5) * place.scale];

  /** Move the view so far that a pixel is on the stage. */
  function reveal([x, y]) {
    const [left, top] = onStage([x, y]);
    if (left < 0 || left > stage.clientWidth) view.x = x + 0.5;
    if (top < 0 || top > stage.clientHeight) view.y = y + 0.5;
    arrange();
  }

  function draw() {
    if (!scene) return;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.globalAlpha = 1;
    context.drawImage(scene.image, 0, 0);
    context.globalAlpha = model.get("opacity");
    context.drawImage(painted, 0, 0);
    edgesLater();
  }

  let waiting = 0;
  function edgesLater() { // once before the screen is drawn, however often the wheel turned
    waiting ||= requestAnimationFrame(() => { waiting = 0; drawEdges(); });
  }

  function drawEdges() {
    edges.hidden = !model.get("borders") || !model.get("opacity");
    if (edges.hidden || !place) return;
    const hidden = new Set(model.get("hidden"));
    let ids = model.get("layer") === "prediction" ? scene.prediction : scene.truth;
    // What is hidden is one ground, in which no borders are.
    if (hidden.size) ids = ids.map((id) => (hidden.has(id) ? model.get("hidden")[0] : id));
    paintBorders(edges, stage, ids, scene.width, scene.height, place);
  }

  function repaint() {
    if (!scene) return;
    painted = paint(scene, model.get("layer"), model.get("hidden"), names);
    draw();
  }

  // What is said about a pixel -------------------------------------------------------------------

  const named = (id) => [names.swatch(id), make("b", {}, nameOf(names.title(id)))];

  function verdictOn(id, predicted) {
    const verdict = id === ignore ? "not counted" : predicted === id ? "right" : "wrong";
    return make("span", { className: `verdict ${verdict.replace(" ", "-")}` }, verdict);
  }

  function oddsOf(pixel) {
    const found = likeliest(scene, pixel).filter(([, share]) => share > 0);
    const rest = 1 - found.reduce((sum, [, share]) => sum + share, 0);
    const nodes = found.map(([id, share]) => make("span", { className: "odd" }, names.swatch(id),
      nameOf(names.title(id)), make("span", { className: "share" }, `${Math.round(100 * share)} %`)));
    if (rest >= 0.01) nodes.push(make("span", { className: "odd" }, `others ${Math.round(100 * rest)} %`));
    return nodes;
  }

  function showProbe() {
    cross.hidden = !probe || !place;
    readout.replaceChildren();
    odds.replaceChildren();
    if (!scene) return;
    odds.hidden = !scene.probs;
    if (!probe) {
      const share = scene.prediction
        ? `${percent(scene.wrong, scene.labelled)} of the labelled pixels are wrong (violet under "error"). ` : "";
      readout.append(`${share}Point at a pixel to learn its class.`);
      return;
    }
    const [x, y] = probe;
    const pixel = y * scene.width + x;
    const id = scene.truth[pixel];
    readout.append(names.swatch(id), make("span", {}, "truth ", make("b", {}, nameOf(names.title(id)))));
    if (scene.prediction) {
      const predicted = scene.prediction[pixel];
      readout.append(names.swatch(predicted),
        make("span", {}, "predicted ", make("b", {}, nameOf(names.title(predicted)))), verdictOn(id, predicted));
    }
    if (scene.probs) odds.append(...oddsOf(pixel));
    readout.append(make("span", { className: "position" }, `x ${x}, y ${y}`));
    if (!place) return;
    const [left, top] = onStage(probe);
    Object.assign(cross.style, { left: `${left}px`, top: `${top}px` });
    const seen = left >= 0 && left <= stage.clientWidth && top >= 0 && top <= stage.clientHeight;
    cross.dataset.seen = seen ? "yes" : "";
    cross.hidden = !seen;
  }

  // Pins: [image, x, y] --------------------------------------------------------------------------

  const isAt = ([index, x, y], pixel) => index === model.get("index") && x === pixel[0] && y === pixel[1];
  const unpin = (pin) => change(model, "pins", model.get("pins").filter((other) => other !== pin));

  function togglePin(pixel) {
    const known = model.get("pins").find((pin) => isAt(pin, pixel));
    if (known) unpin(known);
    else change(model, "pins", [...model.get("pins"), [model.get("index"), ...pixel]]);
  }

  const here = () => [...model.get("pins").entries()].filter(([, pin]) => pin[0] === model.get("index"));

  function listPins() {
    if (!scene) return;
    pinned.hidden = !here().length;
    pinned.replaceChildren(...here().map(([k, pin]) => {
      const [, x, y] = pin;
      const pixel = y * scene.width + x;
      const id = scene.truth[pixel];
      const go = button(String(k + 1), `show pin ${k + 1}`);
      go.addEventListener("click", () => { ask([x, y]); reveal([x, y]); });
      const away = button("×", `remove pin ${k + 1}`);
      away.addEventListener("click", () => unpin(pin));
      const said = [make("span", {}, "truth"), ...named(id)];
      if (scene.prediction) {
        said.push(make("span", {}, "predicted"), ...named(scene.prediction[pixel]), verdictOn(id, scene.prediction[pixel]));
      }
      if (scene.probs) said.push(...oddsOf(pixel));
      return make("li", {}, go, make("span", { className: "at" }, `x ${x}, y ${y}`), ...said, away);
    }));
    marks.replaceChildren(...here().map(([k]) => make("div", { className: "pin" }, String(k + 1))));
    placePins();
  }

  function placePins() {
    if (!place) return;
    here().forEach(([, [, x, y]], n) => {
      const [left, top] = onStage([x, y]);
      const mark = marks.children[n];
      if (mark) Object.assign(mark.style, { left: `${left}px`, top: `${top}px` });
    });
  }

  // Everything else ------------------------------------------------------------------------------

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
        title: `${isolated(names.title(id))}: ${shares.join(", ")}. Click: on or off; with shift: this one alone.`,
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
    colours.value = model.get("colours");
    grey.checked = model.get("grey");
    lines.checked = model.get("borders");
    names.palette = model.get(model.get("colours") === "distinct" ? "distinct" : "palette");
    root.classList.toggle("grey", model.get("grey"));
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
    canvas.setAttribute("aria-label", `${isolated(name || "image")}: ${HELP}`);
    // Small pictures are enlarged, with their pixels kept square: labels are made of pixels.
    root.style.maxWidth = `${Math.max(width, 640)}px`;
    stage.style.aspectRatio = 1 / clamp(height / width, FLATTEST, TALLEST);
    pages.show(index, name);
    probe = null;
    place = null;
    repaint();
    home();
    listClasses();
    showProbe();
    listPins();
    root.dataset.ready = index; // tests and style sheets may wait for it
  }

  const ask = (pixel) => { probe = pixel; showProbe(); };
  const under = (event) => pixelUnder(event, canvas, scene.width, scene.height);
  const inStage = (event) => {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  const pointers = new Map(); // those that are down: where they are on the stage
  let began = null; // where the first went down, until it has moved far enough to be a drag
  canvas.addEventListener("pointerdown", (event) => {
    if (!scene || event.button) return;
    pointers.set(event.pointerId, inStage(event));
    began = pointers.size === 1 ? inStage(event) : null;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!scene) return;
    const before = pointers.get(event.pointerId);
    if (before) {
      const now = inStage(event);
      const moved = began ? Math.hypot(now[0] - began[0], now[1] - began[1]) : 9;
      if (moved < 4) return;
      began = null;
      const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
      pointers.set(event.pointerId, now);
      view.x -= (now[0] - before[0]) / place.scale / (other ? 2 : 1);
      view.y -= (now[1] - before[1]) / place.scale / (other ? 2 : 1);
      arrange();
      if (other) {
        const apart = ([x, y]) => Math.max(1, Math.hypot(x - other[0], y - other[1]));
        zoomAt(apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      }
    }
    ask(under(event));
  });
  const lift = (event) => {
    if (pointers.delete(event.pointerId) && began && event.type === "pointerup") togglePin(under(event));
    began = null;
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  // Its two clicks have set a pin and taken it away.
  canvas.addEventListener("dblclick", (event) => scene && zoomAt(event.shiftKey ? 0.5 : 2, ...inStage(event)));
  canvas.addEventListener("wheel", (event) => {
    // A trackpad's pinch is a wheel with ctrl. Without a click first, the wheel turns the page.
    if (!scene || !(event.ctrlKey || document.activeElement === canvas || canvas.matches(":focus"))) return;
    event.preventDefault();
    const turned = event.deltaY * (event.deltaMode ? 33 : 1);
    zoomAt(2 ** (-clamp(turned, -200, 200) / (event.ctrlKey ? 100 : 250)), ...inStage(event));
    ask(under(event));
  }, { passive: false });
  const leave = () => ask(null);
  canvas.addEventListener("pointerleave", leave);
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("keydown", (event) => {
    if (!scene) return;
    const { width, height } = scene;
    const at = probe ?? [Math.floor(view.x), Math.floor(view.y)].map((v, k) => clamp(v, 0, [width, height][k] - 1));
    const pixel = keyMove(event, at, width, height);
    if (pixel) { ask(pixel); reveal(pixel); return; }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const acts = {
      "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5), 0: home,
      Enter: () => togglePin(at), " ": () => togglePin(at),
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
    if (event.key !== "0") ask(at);
  });
  smaller.addEventListener("click", () => zoomAt(1 / 1.5));
  larger.addEventListener("click", () => zoomAt(1.5));
  whole.addEventListener("click", home);
  slider.addEventListener("input", () => change(model, "opacity", slider.value / 100));
  colours.addEventListener("change", () => change(model, "colours", colours.value));
  grey.addEventListener("change", () => change(model, "grey", grey.checked));
  lines.addEventListener("change", () => change(model, "borders", lines.checked));
  const resized = new ResizeObserver(arrange);
  resized.observe(stage);

  const recolour = () => {
    settings();
    if (!scene) return;
    repaint();
    listClasses();
    listPins();
    showProbe();
  };
  const stop = listen(model, {
    "change:opacity": () => { settings(); draw(); },
    "change:layer": () => { settings(); repaint(); },
    "change:hidden": () => { if (scene) { repaint(); listClasses(); } },
    "change:index": open,
    "change:pins": listPins,
    "change:colours": recolour,
    "change:grey": settings,
    "change:borders": () => { settings(); if (scene) edgesLater(); },
  });
  settings();
  open();
  return () => { resized.disconnect(); stop(); };
}

export default { render };
