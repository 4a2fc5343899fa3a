// What the widgets share. Each widget's module is this file and its own, one after the other: a
// notebook's front end loads a widget from one text, in which nothing can be imported from a file.

const FOCUSABLE = new Set(["button", "canvas", "input"]);

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

async function inflate(view) {
  const stream = new Blob([toBytes(view)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const percent = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(1)} %` : "none");

/** Text as nodes, in which `code` is set as code. */
const prose = (text) => text.split("`").map((part, i) => (i % 2 ? make("code", {}, part) : part));
