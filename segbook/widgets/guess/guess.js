// Guess: all of it happens here; Python hands over the question, the answer and the replies.

const figure = (value, unit) => {
  const number = Number.isInteger(value)
    ? value.toLocaleString("en") : value.toLocaleString("en", { maximumSignificantDigits: 6 });
  return unit ? `${number} ${unit}` : number;
};

/** What fits a guess, or "". */
function replyTo(guess, choices, replies) {
  if (choices.length) return replies[choices.indexOf(guess)];
  const fits = ([least, greatest]) =>
    (least === null || guess >= least) && (greatest === null || guess <= greatest);
  return replies.find(fits)?.[2] ?? "";
}

function render({ model, el }) {
  const [low, high, step] = [model.get("low"), model.get("high"), model.get("step")];
  const [choices, unit] = [model.get("choices"), model.get("unit")];
  const answer = model.get("answer");
  const group = `guess-${Math.random().toString(36).slice(2)}`;
  const say = (value) => (choices.length ? prose(value) : [figure(value, unit)]);

  const question = make("p", { className: "question", id: group }, ...prose(model.get("question")));
  const send = make("button", { type: "submit", className: "main" }, "Answer");
  const show = make("button", { type: "button" }, "Show me");
  const buttons = make("span", { className: "buttons" }, send, show);
  const result = make("div", { className: "result", "aria-live": "polite" });
  const form = make("form", {});
  const options = choices.map((choice) => {
    const input = make("input", { type: "radio", name: group, value: choice });
    const mark = make("span", { className: "note" });
    return { choice, input, mark, label: make("label", {}, input, make("span", {}, ...prose(choice)), mark) };
  });
  const slider = low !== null;
  const value = make("output", { className: "value" });
  const field = make("input", slider
    ? { type: "range", min: low, max: high, step, "aria-labelledby": group }
    : { type: "number", step: "any", "aria-labelledby": group });
  // The pins of guess and answer stand on the slider's own scale.
  const pins = make("div", { className: "pins", "aria-hidden": "true" });

  if (choices.length) {
    form.append(make("div", { className: "choices", role: "radiogroup", "aria-labelledby": group },
      ...options.map(({ label }) => label)), buttons);
  } else if (slider) {
    field.value = low + step * Math.round((high - low) / step / 2);
    const scale = make("div", { className: "scale" }, field, pins, make("div", { className: "ends" },
      make("span", {}, figure(low, unit)), make("span", {}, figure(high, unit))));
    form.append(scale, value, buttons);
  } else {
    form.append(field, ...(unit ? [make("span", {}, unit)] : []), buttons);
  }
  el.append(make("div", { className: "segbook-widget segbook-guess" },
    make("div", { className: "heading" }, "Guess first"), question, form, result));

  const chosen = () => {
    if (choices.length) return options.find(({ input }) => input.checked)?.choice ?? null;
    return field.value === "" ? null : Number(field.value);
  };
  const edited = () => {
    send.disabled = chosen() === null;
    if (slider) value.value = figure(Number(field.value), unit);
  };
  const finish = (guess) => {
    model.set("guess", guess);
    model.set("shown", true);
    model.save_changes();
  };

  const pin = (className, at, text) => {
    const node = make("span", { className: `pin ${className}` }, text);
    const share = (at - low) / (high - low);
    node.style.left = `calc(8px + (100% - 16px) * ${share})`; // the middle of a slider's knob
    node.classList.toggle("before", share > 0.6);
    return node;
  };

  function update() {
    const [guess, shown] = [model.get("guess"), model.get("shown")];
    buttons.hidden = shown;
    field.disabled = shown;
    for (const { choice, input, label, mark } of options) {
      input.disabled = shown;
      if (guess !== null) input.checked = choice === guess;
      label.classList.toggle("right", shown && choice === answer);
      const marks = [choice === guess && "your guess", choice === answer && "the answer"];
      mark.textContent = shown ? marks.filter(Boolean).join(" = ") : "";
    }
    if (guess !== null && !choices.length) field.value = guess;
    edited();
    result.replaceChildren();
    pins.replaceChildren();
    if (!shown) return;
    if (slider) {
      pins.append(pin("answer", answer, "answer"), ...(guess === null ? [] : [pin("yours", guess, "you")]));
      value.hidden = true;
    }
    const reply = guess === null ? "" : replyTo(guess, choices, model.get("replies"));
    const yours = guess === null ? ["You did not guess."] : ["You said ", make("b", {}, ...say(guess)), "."];
    result.append(make("p", {}, ...yours, ...(reply ? [" ", ...prose(reply)] : [])),
      make("p", {}, "Answer: ", make("b", { className: "answer" }, ...say(answer)), ". ",
        ...prose(model.get("why"))));
  }

  form.addEventListener("input", edited);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (chosen() !== null) finish(chosen());
  });
  show.addEventListener("click", () => finish(null));
  for (const name of ["guess", "shown"]) model.on(`change:${name}`, update);
  update();
  return () => {
    for (const name of ["guess", "shown"]) model.off(`change:${name}`, update);
  };
}

export default { render };
