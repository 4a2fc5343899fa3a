// The training scrubber: all frames of a photograph are decoded at once; they are small.

const CHART = { width: 420, height: 210, left: 48, right: 46, top: 10, bottom: 32 };
const PACE = 700; // milliseconds between two frames that are played

/** Where a step lies on the logarithmic axis, 0..1. */
const along = (step, total) => (total > 1 ? Math.log(Math.max(step, 1)) / Math.log(total) : 0);

/** The recorded step that is nearest to a place 0..1 on the axis, as its index. */
function nearestFrame(place, steps, total) {
  const away = steps.map((step) => Math.abs(along(step, total) - place));
  return away.indexOf(Math.min(...away));
}

/** The last of (step, value) pairs that is not after a step; null before the first. */
function lastUpTo(pairs, step) {
  return pairs.filter(([each]) => each <= step).at(-1) ?? null;
}

/** The mean of the `window` values around each. */
function smoothed(pairs, window) {
  return pairs.map(([step], i) => {
    const near = pairs.slice(Math.max(0, i - (window >> 1)), i + ((window + 1) >> 1));
    return [step, near.reduce((sum, [, value]) => sum + value, 0) / near.length];
  });
}

/** Steps worth a tick: 1, 10, 100 ... and the last, where there is room for it. */
function ticksTo(total) {
  const ticks = [];
  for (let step = 1; step <= total; step *= 10) ticks.push(step);
  if (total > 1.8 * ticks.at(-1)) ticks.push(total);
  return ticks;
}

/** A round number at or over a value: 1, 2, 2.5 or 5 times a power of ten. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((each) => each >= value * 0.999);
}

async function openPhotograph(one, { classes, palette, ignore }) {
  const { width, height } = one;
  const [image, truth, ...frames] = await Promise.all([
    decodeImage(one.image, "image/jpeg"), inflate(one.truth), ...one.frames.map(inflate),
  ]);
  return {
    width, height, image, truth, frames,
    labelled: paintLabels(truth, width, height, { palette, ignore }),
    scores: frames.map((ids) => scoreLabels(ids, truth, classes.length, ignore)),
  };
}

function render({ model, el }) {
  const [steps, total, losses, miou, classes, palette, ignore, photographs] = [
    model.get("steps"), model.get("total"), model.get("losses"), model.get("miou"),
    model.get("classes"), model.get("palette"), model.get("ignore"), model.get("photographs"),
  ];
  const opened = new Map();
  let seen = null; // the photograph that is shown
  let probe = null;
  let playing = null;
  const known = new ClassList(classes, palette, ignore);
  const put = (key, value) => change(model, key, value);

  const canvas = make("canvas", { tabIndex: 0, role: "img" });
  const mark = make("div", { className: "cross", hidden: true });
  const stage = make("div", { className: "stage" }, canvas, mark);
  const slider = make("input", { type: "range", min: 0, max: steps.length - 1, step: 1, "aria-label": "step" });
  const told = make("output");
  const play = make("button", { type: "button", className: "play" }, "▶ play");
  const layer = choiceOf("layer", ["prediction", "error", "truth", "photograph"], (value) => put("layer", value));
  const opacity = make("input", { type: "range", min: 0, max: 100, step: 1 });
  const pages = pager(photographs.length, (index) => put("index", index), "photograph");
  const chart = vector("svg", {
    viewBox: `0 0 ${CHART.width} ${CHART.height}`, role: "img",
    "aria-label": "training loss and mIoU over the steps; a click goes to the nearest recorded step",
  });
  const curves = make("div", { className: "curves" });
  const readout = make("div", { className: "readout", "aria-live": "polite" });
  const table = make("table", { className: "scores" });
  const root = make("div", { className: "segbook-widget segbook-scrubber" },
    make("div", { className: "heading" }, model.get("heading")),
    make("div", { className: "bar" }, layer.node,
      make("label", { className: "range" }, "opacity ", opacity), pages),
    make("div", { className: "time" }, play, slider, told),
    readout,
    make("div", { className: "beside" }, make("div", { className: "pictured" }, stage),
      make("div", { className: "measured" }, chart, curves, table)));
  el.append(root);

  const across = (step) => CHART.left + along(step, total) * (CHART.width - CHART.left - CHART.right);
  const up = (share) => CHART.height - CHART.bottom - share * (CHART.height - CHART.bottom - CHART.top);
  const now = vector("line", { class: "now", y1: CHART.top, y2: up(0) });
  const sorted = losses.map(([, value]) => value).sort((a, b) => a - b);
  const most = roundUp(sorted[Math.floor(0.98 * (sorted.length - 1))] ?? 1);

  /** Draw the chart anew: the curve of this photograph is another one on each. */
  function plot() {
    const own = steps.map((step, i) => [step, seen.scores[i].miou]).filter(([, value]) => !Number.isNaN(value));
    const best = roundUp(Math.max(0.01, ...own.map(([, value]) => value), ...miou.map(([, value]) => value)));
    const line = (name, pairs, top) => vector("polyline", {
      class: name, points: pairs.map(([step, value]) => `${across(step)},${up(Math.min(value / top, 1))}`).join(" "),
    });
    const dots = (name, pairs) => pairs.map(([step, value]) =>
      vector("circle", { class: name, cx: across(step), cy: up(value / best), r: 2.6 }));
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      parts.push(vector("line", { class: "grid", x1: CHART.left, x2: CHART.width - CHART.right, y1: up(share), y2: up(share) }),
        label(`${+(share * most).toPrecision(3)}`, CHART.left - 5, up(share) + 4, "end"),
        label(`${+(share * best * 100).toPrecision(3)}`, CHART.width - CHART.right + 5, up(share) + 4, "start"));
    }
    for (const step of ticksTo(total)) parts.push(label(`${step}`, across(step), up(0) + 14, "middle"));
    parts.push(label("step", (CHART.left + CHART.width - CHART.right) / 2, CHART.height - 3, "middle"));
    parts.push(label("loss", 11, up(0.5), "middle", -90), label("mIoU, %", CHART.width - 8, up(0.5), "middle", -90));
    chart.replaceChildren(...parts, line("raw", losses, most),
      line("loss", smoothed(losses, Math.max(1, Math.min(20, losses.length >> 3))), most),
      line("own", own, best), ...dots("own", own), line("val", miou, best), ...dots("val", miou), now);
  }

  function draw() {
    if (!seen) return;
    const { width, height } = seen;
    const frame = model.get("frame");
    const kind = model.get("layer");
    const context = canvas.getContext("2d");
    context.globalAlpha = 1;
    context.drawImage(seen.image, 0, 0, width, height);
    if (kind === "photograph") return;
    const truth = kind === "error" ? seen.truth : null;
    context.globalAlpha = model.get("opacity");
    context.drawImage(kind === "truth" ? seen.labelled
      : paintLabels(seen.frames[frame], width, height, { palette, ignore, truth }), 0, 0);
  }

  function ask(pixel) {
    if (!seen) return;
    probe = pixel;
    placeMark(mark, canvas, probe);
    const score = seen.scores[model.get("frame")];
    readout.replaceChildren();
    if (!probe) {
      readout.append(`${percent(score.labelled * (1 - score.accuracy), score.labelled)} of the labelled pixels are `
        + "wrong at this step. Point at a pixel to learn its class.");
      return;
    }
    const i = probe[1] * seen.width + probe[0];
    for (const [name, id] of [["truth", seen.truth[i]], ["predicted", seen.frames[model.get("frame")][i]]]) {
      readout.append(known.swatch(id), make("span", {}, `${name} `, make("b", {}, known.title(id))));
    }
    const since = settledSince(seen.frames.map((ids) => ids[i]));
    readout.append(make("span", {}, `called ${known.title(seen.frames.at(-1)[i])} since step ${steps[since]}`));
  }

  /** All that hangs on the step: picture, marker, numbers, the classes' bars. */
  function show() {
    if (!seen) return;
    const frame = model.get("frame");
    const step = steps[frame];
    slider.value = frame;
    slider.setAttribute("aria-valuetext", `step ${step}`);
    told.value = `step ${step}`;
    now.setAttribute("x1", across(step));
    now.setAttribute("x2", across(step));
    const loss = lastUpTo(losses, step);
    const val = lastUpTo(miou, step);
    const score = seen.scores[frame];
    const key = (name, ...words) => make("span", {}, make("span", { className: `key ${name}` }), ...words);
    curves.replaceChildren(
      key("loss", "loss ", make("b", {}, loss ? loss[1].toFixed(3) : "–")),
      key("own", "mIoU of this photograph ", make("b", {}, hundredth(score.miou))),
      key("val", `validation mIoU (${model.get("policy")}) `, make("b", {}, val ? hundredth(val[1]) : "–"),
        val && val[0] !== step ? ` at step ${val[0]}` : ""));
    const there = score.iou.map((_, id) => id).filter((id) => seen.scores.some((one) => !Number.isNaN(one.iou[id])));
    table.replaceChildren(
      make("thead", {}, make("tr", {}, ...["IoU here, %", "", ""].map((head) => make("th", { scope: "col" }, head)))),
      make("tbody", {}, ...there.map((id) => {
        const measure = make("div", { className: "measure" });
        measure.style.width = `${100 * (score.iou[id] || 0)}%`;
        return make("tr", {}, make("td", {}, known.swatch(id), classes[id]), make("td", {}, measure),
          make("td", {}, hundredth(score.iou[id])));
      })));
    draw();
    ask(probe);
  }

  function settings() {
    layer.show(model.get("layer"));
    opacity.value = Math.round(100 * model.get("opacity"));
    opacity.disabled = model.get("layer") === "photograph";
    draw();
  }

  async function open() {
    const index = model.get("index");
    try {
      if (!opened.has(index)) opened.set(index, openPhotograph(photographs[index], { classes, palette, ignore }));
      const ready = await opened.get(index);
      if (index !== model.get("index")) return; // turned on meanwhile
      seen = ready;
    } catch (error) {
      tell(root, error);
      return;
    }
    fitCanvas(canvas, stage, seen.width, seen.height);
    root.style.maxWidth = "1000px";
    canvas.setAttribute("aria-label", `${photographs[index].name}; arrow keys left and right go through the steps, `
      + "the space bar plays them");
    pages.show(index, photographs[index].name);
    probe = null;
    plot();
    settings();
    show();
    root.dataset.ready = index;
  }

  const go = (frame) => put("frame", Math.min(Math.max(frame, 0), steps.length - 1));
  const stop = () => {
    clearInterval(playing);
    playing = null;
    play.textContent = "▶ play";
  };
  function start() {
    if (playing) return stop();
    if (model.get("frame") === steps.length - 1) go(0);
    play.textContent = "❚❚ pause";
    playing = setInterval(() => {
      go(model.get("frame") + 1);
      if (model.get("frame") === steps.length - 1) stop();
    }, PACE);
  }
  play.addEventListener("click", start);
  slider.addEventListener("input", () => { stop(); go(Number(slider.value)); });
  opacity.addEventListener("input", () => put("opacity", opacity.value / 100));
  const point = (event) => {
    const box = chart.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * CHART.width;
    stop();
    go(nearestFrame((x - CHART.left) / (CHART.width - CHART.left - CHART.right), steps, total));
  };
  chart.addEventListener("pointerdown", (event) => {
    chart.setPointerCapture(event.pointerId);
    point(event);
  });
  chart.addEventListener("pointermove", (event) => { if (event.buttons) point(event); });
  canvas.addEventListener("pointermove", (event) => ask(pixelUnder(event, canvas, canvas.width, canvas.height)));
  for (const name of ["pointerleave", "blur"]) canvas.addEventListener(name, () => ask(null));
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -steps.length, End: steps.length }[event.key];
    if (event.key === " ") start();
    else if (move) stop(), go(model.get("frame") + move);
    else return;
    event.preventDefault();
  });
  const unlisten = listen(model, { "change:frame": show, "change:layer": settings, "change:opacity": draw, "change:index": open });
  open();
  return () => {
    stop();
    unlisten();
  };
}

/** Since which frame a pixel has had the class it ends with, as an index. */
function settledSince(ids) {
  let since = ids.length - 1;
  while (since > 0 && ids[since - 1] === ids.at(-1)) since--;
  return since;
}

/** An SVG element with attributes. */
function vector(tag, attributes) {
  // A name, not an address: nothing is asked for. In two pieces, since no script may hold an address.
  const node = document.createElementNS("http:" + "//www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/** A text in a chart, turned by so many degrees. */
function label(words, x, y, anchor, turned = 0) {
  const node = vector("text", { x, y, "text-anchor": anchor });
  if (turned) node.setAttribute("transform", `rotate(${turned} ${x} ${y})`);
  node.textContent = words;
  return node;
}

export default { render };
