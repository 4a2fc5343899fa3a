// What the widgets share. Each widget's module is this file and its own, one after the other: a
// notebook's front end loads a widget from one text, in which nothing can be imported from a file.

const FOCUSABLE = new Set(["button", "canvas", "input", "select", "textarea"]);
/** The greys of the stripes that stand for void; also what a table of `paintIds` says for them. */
const STRIPES = [[40, 40, 40], [150, 150, 150]];

const toBytes = (view) => new Uint8Array(view.buffer ?? view, view.byteOffset ?? 0, view.byteLength);

/** A DOM element with properties, attributes (aria-…, data-…, role) and children. */
function make(tag, settings = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(settings)) {
    if (key in node && !key.includes("-")) node[key] = value;
    else node.setAttribute(key, value);
  }
  // Keeps JupyterLab's shortcuts out: on a slider the arrows move the slider, not to another cell.
  // It must be on the very element that has the focus.
  if (FOCUSABLE.has(tag)) node.setAttribute("data-lm-suppress-shortcuts", "true");
  node.append(...children);
  return node;
}

/** Text as nodes, in which `code` is set as code. */
const prose = (text) => text.split("`").map((part, i) => (i % 2 ? make("code", {}, part) : part));

/** Bytes out of a zlib stream (Python's zlib.compress), e.g. class ids, one byte a pixel. */
async function inflate(view) {
  const stream = new Blob([toBytes(view)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A bitmap to draw out of a picture's bytes. Numbers come by `inflate`: a browser may change colours. */
const decodeImage = (view, type = "image/png") =>
  createImageBitmap(new Blob([toBytes(view)], { type }), { colorSpaceConversion: "none" });

/** A share in percent, one digit; "none" of nothing. */
const percent = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(1)} %` : "none");

/** A number within low..high. */
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** A name from data: in any script, its direction of writing does not spill over to its neighbours. */
const nameOf = (text) => make("bdi", {}, text);

/** The same for a text that is no element, such as a title or a label: isolated by characters. */
const isolated = (text) => `\u2068${text}\u2069`;

/** The classes of a widget: names, colours and void. `palette` may be set anew at any time. */
class ClassList {
  constructor(names, palette, ignore = 255) {
    Object.assign(this, { names, palette, ignore });
  }

  /** The name of an id as text. */
  title(id) {
    return id === this.ignore ? "void" : this.names[id];
  }

  /** The small square in the colour of an id; striped for void. */
  swatch(id) {
    const node = make("span", { className: id === this.ignore ? "swatch void" : "swatch" });
    if (id !== this.ignore) node.style.backgroundColor = `rgb(${this.palette[id].join()})`;
    return node;
  }

  /** A table for `paintIds`: every class in its colour, void striped, hidden ids left out. */
  table(hidden = []) {
    const table = [...this.palette];
    table[this.ignore] = STRIPES;
    for (const id of hidden) table[id] = undefined;
    return table;
  }
}

/** A canvas of ids: table[id] is a colour [r, g, b], STRIPES, or undefined for a clear pixel. */
function paintIds(ids, width, height, table) {
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const { data } = picture;
  // As in figures.pictures.stripes: about 50 of them over the longer side.
  const band = Math.max(2, Math.round(Math.max(width, height) / 100));
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      let colour = table[ids[i]];
      if (!colour) continue;
      if (colour === STRIPES) colour = STRIPES[Math.floor((x + y) / band) % 2];
      data[4 * i] = colour[0];
      data[4 * i + 1] = colour[1];
      data[4 * i + 2] = colour[2];
      data[4 * i + 3] = 255;
    }
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

/**
 * White lines between the classes of a map of ids, over a picture that lies on a stage at
 * {scale, left, top} (CSS pixels). One pixel of the screen wide, and fainter where that is more than
 * a third of a pixel of the map: a pole of two pixels stays seen. `canvas` covers the stage.
 */
function paintBorders(canvas, stage, ids, width, height, { scale, left, top }) {
  const dense = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(stage.clientWidth * dense), Math.round(stage.clientHeight * dense)];
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  if (!wide || !high) return;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(wide, high);
  const pixels = new Uint32Array(picture.data.buffer);
  const size = scale * dense;
  const white = ((Math.round(255 * Math.min(0.9, size / 3)) << 24) | 0xffffff) >>> 0;
  const columns = Int32Array.from({ length: width + 1 }, (_, x) => clamp(Math.round(left * dense + x * size), 0, wide));
  const rows = Int32Array.from({ length: height + 1 }, (_, y) => clamp(Math.round(top * dense + y * size), 0, high));
  for (let y = 0; y < height; y++) {
    const r = rows[y + 1];
    if (r === 0 || rows[y] === high) continue; // above or below the stage
    for (let x = 0, i = y * width; x < width; x++, i++) {
      const c = columns[x + 1];
      if (c === 0) continue;
      if (columns[x] === wide) break;
      if (x + 1 < width && ids[i] !== ids[i + 1] && c < wide)
        for (let at = rows[y]; at < r; at++) pixels[at * wide + c] = white;
      if (y + 1 < height && ids[i] !== ids[i + width] && r < high)
        pixels.fill(white, r * wide + columns[x], r * wide + c);
    }
  }
  context.putImageData(picture, 0, 0);
}

/** The pixel [x, y] of a picture of width × height under the pointer, when `node` shows all of it. */
function pixelUnder(event, node, width, height) {
  const box = node.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) * width) / box.width);
  const y = Math.floor(((event.clientY - box.top) * height) / box.height);
  return [clamp(x, 0, width - 1), clamp(y, 0, height - 1)];
}

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Where an arrow key moves the pixel [x, y], ten pixels with shift; null for any other key. */
function keyMove(event, [x, y], width, height) {
  const move = MOVES[event.key];
  if (!move || event.ctrlKey || event.metaKey || event.altKey) return null;
  event.preventDefault();
  const step = event.shiftKey ? 10 : 1;
  return [clamp(x + step * move[0], 0, width - 1), clamp(y + step * move[1], 0, height - 1)];
}

/** Buttons through `count` things; `turn(index)` is called, `node.show(index, name)` shows where. */
function pager(count, turn, what = "image") {
  const previous = make("button", { type: "button", "aria-label": `previous ${what}` }, "‹");
  const next = make("button", { type: "button", "aria-label": `next ${what}` }, "›");
  const place = make("span", { className: "place" });
  const node = make("div", { className: "pager", hidden: count < 2 }, previous, place, next);
  let at = 0;
  node.show = (index, name = "") => {
    at = index;
    place.replaceChildren(`${index + 1} / ${count}`, ...(name ? [" · ", nameOf(name)] : []));
  };
  previous.addEventListener("click", () => turn((at + count - 1) % count));
  next.addEventListener("click", () => turn((at + 1) % count));
  return node;
}

/** One of a few [value, text] as a row of radios; `chosen(value)` is called, `node.value` is set. */
function segments(options, chosen, label) {
  const group = `segments-${Math.random().toString(36).slice(2)}`;
  const radios = options.map(([value]) => make("input", { type: "radio", name: group, value }));
  const node = make("div", { className: "segments", role: "radiogroup", "aria-label": label },
    ...radios.map((radio, k) => make("label", {}, radio, make("span", {}, options[k][1]))));
  for (const radio of radios) radio.addEventListener("change", () => chosen(radio.value));
  Object.defineProperty(node, "value", {
    get: () => radios.find((radio) => radio.checked)?.value,
    set(value) { for (const radio of radios) radio.checked = radio.value === String(value); },
  });
  return node;
}

/** Listen to a model, {"change:name": function}; gives the function that stops it. */
function listen(model, listeners) {
  for (const [name, listener] of Object.entries(listeners)) model.on(name, listener);
  return () => {
    for (const [name, listener] of Object.entries(listeners)) model.off(name, listener);
  };
}

/** Set a trait and send it to the kernel, if there is one. */
function change(model, key, value) {
  model.set(key, value);
  model.save_changes();
}

/** The borders between the classes of a label map: a path whose unit is a pixel of the map. */
function borders(ids, width, height) {
  const path = new Path2D();
  const line = (from, to, at, across) => {
    path.moveTo(...(across ? [from, at] : [at, from]));
    path.lineTo(...(across ? [to, at] : [at, to]));
  };
  const trace = (length, count, differs, across) => {
    for (let at = 1; at < count; at++) {
      for (let i = 0, from = -1; i <= length; i++) {
        const border = i < length && differs(i, at);
        if (border && from < 0) from = i;
        if (!border && from >= 0) line(from, i, at, across), from = -1;
      }
    }
  };
  trace(width, height, (x, y) => ids[y * width + x] !== ids[(y - 1) * width + x], true);
  trace(height, width, (y, x) => ids[y * width + x] !== ids[y * width + x - 1], false);
  return path;
}

/** Stroke such a path on a canvas that shows each pixel `zoom` wide. */
function strokeBorders(context, path, zoom, colour = "#fff", width = 2) {
  context.save();
  context.scale(zoom, zoom);
  Object.assign(context, { strokeStyle: colour, lineWidth: width / zoom, lineCap: "square" });
  context.stroke(path);
  context.restore();
}

/** How many pixels of a canvas a pixel of a picture of this width takes, for thin lines between. */
const zoomFor = (width) => Math.max(1, Math.ceil(640 / width));
