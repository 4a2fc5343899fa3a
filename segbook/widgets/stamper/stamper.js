// The stamper: a transposed convolution, computed here by what it is: stamps, one after the other.

/** The kernel in use: a tent has another size at each stride. */
const kernelOf = (kernels, name, stride) =>
  Array.isArray(kernels[name]) ? kernels[name] : kernels[name][stride];

/** The sum of the first `count` stamps, row by row (-1: all). Tables are arrays of rows. */
function stampAll(values, kernel, stride, count = -1) {
  const height = (values.length - 1) * stride + kernel.length;
  const width = (values[0].length - 1) * stride + kernel[0].length;
  const sum = Array.from({ length: height }, () => new Array(width).fill(0));
  let left = count < 0 ? Infinity : count;
  values.forEach((row, i) => row.forEach((value, j) => {
    if (left-- <= 0) return;
    kernel.forEach((taps, y) => taps.forEach((tap, x) => {
      sum[i * stride + y][j * stride + x] += value * tap;
    }));
  }));
  return sum;
}

/** How many stamps meet in each cell. */
const countStamps = (values, kernel, stride, count = -1) =>
  stampAll(values.map((row) => row.map(() => 1)), kernel.map((row) => row.map(() => 1)), stride, count);

/** What is said of a kernel's size and a stride, of the direction along a row. */
function verdictOn(size, stride) {
  if (size < stride) return `A kernel of ${size} at stride ${stride} leaves gaps.`;
  if (size % stride === 0) {
    return `${size} is a multiple of ${stride}: inside, ${size / stride} stamps meet everywhere along a row.`;
  }
  return `${size} is no multiple of ${stride}: along a row ${Math.floor(size / stride)} or ` +
    `${Math.ceil(size / stride)} stamps meet in turn, a checkerboard.`;
}

/** A background for a value: orange above zero, purple below, as strong as its share of the most. */
function shade(value, most) {
  const share = Math.min(1, Math.abs(value) / (most || 1)) * 0.6;
  return value < 0 ? `rgb(94 60 153 / ${share})` : `rgb(230 97 1 / ${share})`;
}

const short = (value) => String(Number(value.toPrecision(3)));

function render({ model, el }) {
  const kernels = model.get("kernels");
  const change = (key, value) => { model.set(key, value); model.save_changes(); };
  let timer = null;

  const rates = segments(model.get("strides").map((n) => [String(n), `stride ${n}`]),
    (value) => change("stride", Number(value)), "stride");
  const pick = make("select", { "aria-label": "kernel" },
    ...Object.keys(kernels).map((name) => make("option", { value: name }, name)));
  const views = segments([["sum", "sum"], ["count", "how many meet"]],
    (value) => change("view", value), "what the page shows");
  const back = make("button", { type: "button", "aria-label": "one stamp less" }, "‹");
  const on = make("button", { type: "button", "aria-label": "one stamp more" }, "›");
  const play = make("button", { type: "button" });
  const place = make("span", { className: "place", "aria-live": "polite" });
  const values = make("table", { "aria-label": "values" });
  const kernel = make("table", { "aria-label": "kernel" });
  const page = make("table", { "aria-label": "the page that is stamped on" });
  const verdict = make("p", { className: "verdict", "aria-live": "polite" });
  const column = (title, node) => make("div", {}, make("h4", {}, title), node);
  const pageTitle = make("h4");
  const tables = make("div", { className: "tables" }, column("values (type another)", values),
    column("kernel", kernel), make("div", {}, pageTitle, page));
  const root = make("div", { className: "segbook-widget segbook-stamper" },
    make("div", { className: "bar" }, rates, make("label", {}, "kernel ", pick), views),
    make("div", { className: "bar" }, back, on, play, place), tables, verdict);
  el.append(root);

  const rows = () => model.get("numbers");
  const total = () => rows().length * rows()[0].length;
  const set = () => (model.get("stamps") < 0 ? total() : Math.min(model.get("stamps"), total()));

  function fill(table, numbers, most, marked = () => "") {
    table.replaceChildren(...numbers.map((row, y) => make("tr", {}, ...row.map((value, x) => {
      const cell = make("td", { className: marked(y, x) }, short(value));
      cell.style.backgroundColor = shade(value, most);
      return cell;
    }))));
  }

  /** The values stand in fields, which are made once and stay, or the focus would be lost. */
  function listValues() {
    values.replaceChildren(...rows().map((row, y) => make("tr", {}, ...row.map((value, x) => {
      const field = make("input", { type: "number", step: "any", value: short(value),
        "aria-label": `value in row ${y + 1}, column ${x + 1}` });
      field.addEventListener("input", () => {
        if (field.value === "" || !Number.isFinite(field.valueAsNumber)) return;
        change("numbers", rows().map((each, i) =>
          each.map((old, j) => (i === y && j === x ? field.valueAsNumber : old))));
      });
      return make("td", {}, field);
    }))));
  }

  function draw() {
    const stride = model.get("stride");
    const taps = kernelOf(kernels, model.get("name"), stride);
    const counting = model.get("view") === "count";
    const count = set();
    const most = Math.max(...rows().flat().map(Math.abs));
    const latest = count ? [Math.floor((count - 1) / rows()[0].length), (count - 1) % rows()[0].length] : null;
    const whole = counting ? countStamps(rows(), taps, stride) : stampAll(rows(), taps, stride);
    const shown = counting ? countStamps(rows(), taps, stride, count) : stampAll(rows(), taps, stride, count);
    fill(kernel, taps, Math.max(...taps.flat().map(Math.abs)));
    fill(page, shown, Math.max(...whole.flat().map(Math.abs)), (y, x) => {
      if (!latest || count === total()) return "";
      const [top, left] = latest.map((at) => at * stride);
      return y >= top && y < top + taps.length && x >= left && x < left + taps[0].length ? "fresh" : "";
    });
    [...values.querySelectorAll("input")].forEach((field, i) => {
      field.parentNode.style.backgroundColor = i < count ? shade(rows().flat()[i], most) : "";
      field.parentNode.className = latest && i === count - 1 && count < total() ? "fresh" : "";
    });
    pageTitle.textContent = counting ? "how many stamps meet" : "sum of the stamps";
    place.textContent = `${count} of ${total()} stamps`;
    verdict.textContent = verdictOn(taps[0].length, stride);
    rates.value = String(stride);
    views.value = model.get("view");
    pick.value = model.get("name");
    play.textContent = timer ? "stop" : "stamp one by one";
  }

  function stop() {
    clearInterval(timer);
    timer = null;
  }
  function step(by) {
    const count = set() + by;
    if (count >= total()) stop();
    change("stamps", Math.max(0, Math.min(count, total())));
  }
  back.addEventListener("click", () => { stop(); step(-1); });
  on.addEventListener("click", () => { stop(); step(1); });
  play.addEventListener("click", () => {
    if (timer) stop();
    else {
      if (set() >= total()) change("stamps", 0);
      timer = setInterval(() => step(1), 600);
    }
    draw();
  });
  pick.addEventListener("change", () => change("name", pick.value));
  root.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select") || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.preventDefault();
    stop();
    step(event.key === "ArrowRight" ? 1 : -1);
  });
  listValues();
  draw();
  const unlisten = listen(model, {
    "change:numbers": () => {
      const fields = values.querySelectorAll("input");
      if (fields.length !== total()) listValues();
      else rows().flat().forEach((value, i) => {
        if (fields[i] !== document.activeElement) fields[i].value = short(value);
      });
      draw();
    },
    "change:stride": draw, "change:name": draw, "change:stamps": draw, "change:view": draw,
  });
  return () => { stop(); unlisten(); };
}

export default { render };
