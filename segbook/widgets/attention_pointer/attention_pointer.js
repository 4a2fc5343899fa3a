// The attention pointer: the weights of all queries are here, so that every answer is a look-up.

/** The weights of one query, by one head or (-1) by the mean of all. */
function weightsOf({ weights, scales, heads, keys, queries }, query, head) {
  const found = new Float32Array(keys);
  const used = head < 0 ? [...Array(heads).keys()] : [head];
  for (const each of used) {
    const row = each * queries + query;
    const scale = scales[row] / 255 / used.length;
    for (let k = 0; k < keys; k++) found[k] += weights[row * keys + k] * scale;
  }
  return found;
}

/** Which cell of a grid a pixel lies in, row by row. */
const cellAt = ([x, y], [height, width], [rows, columns]) =>
  Math.floor((y * rows) / height) * columns + Math.floor((x * columns) / width);

/** The pixel in the middle of a cell. */
const middleOf = (cell, [height, width], [rows, columns]) =>
  [Math.floor(((cell % columns) + 0.5) * width / columns), Math.floor((Math.floor(cell / columns) + 0.5) * height / rows)];

/** How few cells hold half of the weight. */
function cellsOfHalf(weights) {
  const sorted = Float32Array.from(weights).sort().reverse();
  const half = sorted.reduce((sum, value) => sum + value, 0) / 2;
  let sum = 0;
  let count = 0;
  while (sum < half * 0.999999 && count < sorted.length) sum += sorted[count++];
  return count;
}

/** What falls on each class: sums by the class of each cell, of them all as a share. */
function shareByClass(weights, places, classes, ignore) {
  const found = new Array(classes).fill(0);
  let whole = 0;
  weights.forEach((weight, k) => {
    whole += weight;
    if (places[k] !== ignore) found[places[k]] += weight;
  });
  return found.map((sum) => sum / whole);
}

/** The sum of maps, each with its highest at 1, by weights. */
function weightedSum(weights, maps) {
  const found = new Float32Array(maps[0].values.length);
  maps.forEach(({ values, high }, k) => {
    const scale = weights[k] / (high || 1);
    for (let i = 0; i < found.length; i++) found[i] += values[i] * scale;
  });
  return found;
}

/** Numbers from 16 bits between a lowest and a highest. */
async function openMap({ values, low, high, height, width }) {
  const bytes = await inflate(values);
  const sent = new Uint16Array(bytes.buffer);
  return { low, high, size: [height, width], values: Float32Array.from(sent, (value) => low + (high - low) * value / 65535) };
}

/** A picture without its colours. */
function greyed(bitmap, width, height) {
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const picture = context.getImageData(0, 0, width, height);
  for (let i = 0; i < picture.data.length; i += 4) {
    const grey = (picture.data[i] + picture.data[i + 1] + picture.data[i + 2]) / 3;
    picture.data[i] = picture.data[i + 1] = picture.data[i + 2] = grey;
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

/** Numbers as colours (RGBA of 256 shares), one pixel a cell. */
function heat(values, [height, width], low, high, colours) {
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const span = high - low || 1;
  for (let i = 0; i < values.length; i++) {
    const share = Math.round(255 * Math.min(Math.max((values[i] - low) / span, 0), 1));
    for (let c = 0; c < 4; c++) picture.data[4 * i + c] = colours[4 * share + c];
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

/** Three digits, and no more. */
const digits = (value) => `${+value.toPrecision(3)}`;

function render({ model, el }) {
  const [kind, size, grid, keys, heads, names, classes, palette, ignore] = [
    model.get("kind"), model.get("size"), model.get("grid"), model.get("key_grid"), model.get("heads"),
    model.get("names"), model.get("classes"), model.get("palette"), model.get("ignore"),
  ];
  const colours = toBytes(model.get("colours"));
  const [height, width] = size;
  let data = null;
  let hovered = null; // the pixel under the pointer, which asks for as long as it is there
  const known = new ClassList(classes, palette, ignore);
  const put = (key, value) => change(model, key, value);
  const ofMaps = kind === "maps";

  const canvas = make("canvas", { tabIndex: 0, role: "img" });
  const mark = make("div", { className: "cross" });
  const most = make("div", { className: "cross most", hidden: true });
  const stage = make("div", { className: "stage" }, canvas, most, mark);
  const opacity = make("input", { type: "range", min: 0, max: 100, step: 1 });
  const amount = make("output");
  const options = heads > 1 ? ["-1", ...Array(heads).keys()].map(String) : [];
  const head = choiceOf("head", options, (value) => put("head", Number(value)),
    Object.fromEntries(options.map((value) => [value, value < 0 ? "mean" : `head ${Number(value) + 1}`])));
  head.node.hidden = !options.length;
  const chosen = ofMaps && names.length > 1 ? names.map((_, k) => String(k)) : [];
  const map = choiceOf("map", chosen, (value) => put("shown", Number(value)), { ...names });
  map.node.hidden = !chosen.length;
  const bar = make("div", { className: "bar" }, head.node, map.node,
    make("label", { className: "range" }, "heat ", opacity, amount));
  const readout = make("div", { className: "readout", "aria-live": "polite" });
  const ramp = make("div", { className: "ramp" });
  const [lowest, highest, unit] = [make("span"), make("span"), make("span", { className: "unit" })];
  const stops = [0, 51, 102, 153, 204, 255].map((k) => `rgb(${[...colours.slice(4 * k, 4 * k + 3)].join()})`);
  ramp.style.background = `linear-gradient(90deg, ${stops.join()})`;
  const scale = make("div", { className: "scale" }, lowest, ramp, highest, unit);
  const table = make("table", { className: "scores" });
  const root = make("div", { className: "segbook-widget segbook-attention" }, bar, readout,
    make("div", { className: "beside" }, make("div", { className: "pictured" }, stage),
      make("div", { className: "told" }, scale, table)));
  el.append(root);

  function draw(values, of, low, high) {
    const context = canvas.getContext("2d");
    context.globalAlpha = 1;
    context.drawImage(data.grey, 0, 0);
    context.globalAlpha = model.get("opacity");
    context.imageSmoothingEnabled = false;
    context.drawImage(heat(values, of, low, high, colours), 0, 0, width, height);
  }

  function legend(low, high, words) {
    lowest.textContent = low;
    highest.textContent = high;
    unit.textContent = words;
  }

  /** Rows of names and shares as bars; a name may be a button. */
  function bars(rows, head) {
    table.replaceChildren(
      make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, ...rows.map(([name, share, ...more]) => {
        const measure = make("div", { className: "measure" });
        measure.style.width = `${100 * share}%`;
        return make("tr", {}, make("td", {}, ...name), make("td", {}, measure),
          ...[share, ...more].map((value) => make("td", {}, hundredth(value))));
      })));
  }

  function showPairs(pixel) {
    const query = cellAt(pixel, size, grid);
    const weights = weightsOf(data, query, model.get("head"));
    let best = 0;
    weights.forEach((weight, k) => { if (weight > weights[best]) best = k; });
    const high = weights[best];
    draw(weights.map(Math.sqrt), keys, 0, Math.sqrt(high)); // most are far below the largest
    placeMark(most, canvas, middleOf(best, size, keys));
    legend("0", `${digits(100 * high)} %`, `of the query's weight on a cell, coloured by its root; even attention: ${digits(100 / weights.length)} %`);
    const [x, y] = middleOf(best, size, keys);
    readout.append(make("span", {}, "pixel ", make("b", {}, `x ${pixel[0]}, y ${pixel[1]}`), " attends most to ",
      make("b", {}, `x ${x}, y ${y}`), ` (diamond): ${digits(100 * high)} % of its weight. Half of it lies on `,
      make("b", {}, `${cellsOfHalf(weights)} of ${weights.length}`), " cells."));
    if (!data.places.length) return;
    const shares = shareByClass(weights, data.places, classes.length, ignore);
    const rows = [...shares.keys()].filter((k) => data.even[k] > 0).sort((a, b) => shares[b] - shares[a]);
    bars(rows.map((k) => [[known.swatch(k), classes[k]], shares[k], data.even[k]]),
      ["class", "", "weight, %", "area, %"]);
  }

  function showRegions(pixel) {
    const weights = weightsOf(data, cellAt(pixel, size, grid), -1);
    const shown = model.get("shown");
    const one = data.maps[Math.max(shown, 0)];
    const values = shown < 0 ? weightedSum(weights, data.maps) : one.values;
    draw(values, one.size, 0, values.reduce((a, b) => Math.max(a, b), 0));
    legend("0", "most", shown < 0 ? "regions' maps, weighted as this pixel weights them" : `where the region ${names[shown]} is`);
    const order = [...weights.keys()].sort((a, b) => weights[b] - weights[a]);
    readout.append(make("span", {}, "pixel ", make("b", {}, `x ${pixel[0]}, y ${pixel[1]}`), " takes ",
      make("b", {}, `${hundredth(weights[order[0]])} % from ${names[order[0]]}`),
      order.length > 1 ? ` and ${hundredth(weights[order[1]])} % from ${names[order[1]]}.` : ".",
      " A region's name shows its map."));
    const focused = table.contains(document.activeElement) && document.activeElement.dataset.k;
    bars(order.map((k) => {
      const button = make("button", { type: "button", "data-k": k, "aria-pressed": String(k === shown) }, names[k]);
      button.addEventListener("click", () => put("shown", k === model.get("shown") ? -1 : k));
      const swatch = palette.length === names.length ? [known.swatch(k)] : [];
      return [[...swatch, button], weights[k]];
    }), ["region", "", "weight, %"]);
    if (focused) table.querySelector(`[data-k="${focused}"]`)?.focus();
  }

  function showMap(pixel) {
    const shown = model.get("shown");
    const one = data.maps[shown];
    const low = Math.min(...data.maps.map((each) => each.low));
    const high = Math.max(...data.maps.map((each) => each.high));
    draw(one.values, one.size, low, high);
    legend(digits(low), digits(high), `${names[shown]}: here from ${digits(one.low)} to ${digits(one.high)}`);
    readout.append(make("span", {}, `${names[shown]} at x ${pixel[0]}, y ${pixel[1]}: `,
      make("b", {}, one.values[cellAt(pixel, size, one.size)].toFixed(3))));
  }

  function show() {
    if (!data) return;
    const pixel = hovered ?? model.get("pixel");
    readout.replaceChildren();
    ({ pairs: showPairs, regions: showRegions, maps: showMap })[kind](pixel);
    placeMark(mark, canvas, pixel);
    head.show(String(model.get("head")));
    map.show(String(model.get("shown")));
    opacity.value = Math.round(100 * model.get("opacity"));
    amount.value = `${opacity.value} %`;
  }

  async function open() {
    try {
      const [image, weights, scales, places, ...maps] = await Promise.all([
        decodeImage(model.get("image"), "image/jpeg"), inflate(model.get("weights")),
        inflate(model.get("scales")), inflate(model.get("places")), ...model.get("maps").map(openMap),
      ]);
      const keyCount = kind === "pairs" ? keys[0] * keys[1] : names.length;
      data = {
        weights, scales: new Float32Array(scales.buffer), heads, keys: keyCount, places, maps,
        queries: ofMaps ? 0 : grid[0] * grid[1], grey: greyed(image, width, height),
        even: shareByClass(new Float32Array(places.length).fill(1), places, classes.length, ignore),
      };
    } catch (error) {
      tell(root, error);
      return;
    }
    fitCanvas(canvas, stage, width, height);
    root.style.maxWidth = `${Math.max(width, 640) + 320}px`;
    canvas.setAttribute("aria-label", "image under heat; arrow keys move the pixel that asks");
    show();
    root.dataset.ready = 0;
  }

  canvas.addEventListener("pointermove", (event) => { hovered = pixelUnder(event, canvas, canvas.width, canvas.height); show(); });
  canvas.addEventListener("pointerdown", (event) => put("pixel", pixelUnder(event, canvas, canvas.width, canvas.height)));
  canvas.addEventListener("pointerleave", () => { hovered = null; show(); });
  canvas.addEventListener("keydown", (event) => {
    const moved = keyMove(event, hovered ?? model.get("pixel"), width, height);
    if (!moved) return;
    hovered = null;
    put("pixel", moved);
  });
  opacity.addEventListener("input", () => put("opacity", opacity.value / 100));
  open();
  return listen(model, { "change:pixel": show, "change:head": show, "change:shown": show, "change:opacity": show });
}

export default { render };
