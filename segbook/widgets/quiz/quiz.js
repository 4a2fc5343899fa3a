// Quiz: Python hands over questions, choices and answers, and reads what was chosen.

const SHOWN = -1;
const WORDS = { first: "Right.", later: "Right now.", shown: "The answer:", wrong: "No: try again." };

/** How a question stands: "open", "wrong", "first" (right at once), "later" or "shown". */
function standing(chosen, right) {
  if (chosen.includes(right)) return chosen[0] === right ? "first" : "later";
  return chosen.includes(SHOWN) ? "shown" : chosen.length ? "wrong" : "open";
}

function render({ model, el }) {
  const questions = model.get("questions");
  const score = make("p", { className: "score", "aria-live": "polite" });

  const choose = (number, place) => {
    const chosen = model.get("chosen").map((tried) => [...tried]);
    chosen[number].push(place);
    model.set("chosen", chosen);
    model.save_changes();
  };

  const blocks = questions.map(({ question, choices, right, why }, number) => {
    const buttons = choices.map((choice, place) => {
      const letter = make("span", { className: "letter" }, String.fromCharCode(97 + place));
      const button = make("button", { type: "button" }, letter, make("span", {}, ...prose(choice)));
      button.addEventListener("click", () => {
        if (button.getAttribute("aria-disabled") !== "true") choose(number, place);
      });
      return button;
    });
    const show = make("button", { type: "button", className: "show" }, "Show the answer");
    show.addEventListener("click", () => choose(number, SHOWN));
    const verdict = make("div", { className: "said", "aria-live": "polite" });
    const group = make("fieldset", {}, make("legend", {}, `${number + 1}. `, ...prose(question)),
      make("div", { className: "choices" }, ...buttons), make("div", { className: "below" }, verdict, show));
    // A letter chooses, as on paper.
    group.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const button = buttons[event.key.length === 1 ? event.key.toLowerCase().charCodeAt(0) - 97 : -1];
      if (!button) return;
      event.preventDefault();
      button.focus();
      button.click();
    });
    const update = (tried) => {
      const stands = standing(tried, right);
      const done = ["first", "later", "shown"].includes(stands);
      group.dataset.standing = stands;
      buttons.forEach((button, place) => {
        const mark = done && place === right ? "✓ right" : tried.includes(place) ? "✗ wrong" : "";
        // Not disabled: the focus would be lost, and with it the reader's place.
        button.setAttribute("aria-disabled", String(done || Boolean(mark)));
        button.classList.toggle("right", mark.startsWith("✓"));
        button.classList.toggle("wrong", mark.startsWith("✗"));
        button.querySelector(".note")?.remove();
        if (mark) button.append(make("span", { className: "note" }, mark));
      });
      show.hidden = done;
      verdict.replaceChildren(...(stands === "open" ? [] : [make("b", {}, WORDS[stands]), " "]),
        ...(done ? prose(why) : []));
    };
    return { group, update };
  });
  el.append(make("div", { className: "segbook-widget segbook-quiz" },
    ...blocks.map(({ group }) => group), score));

  function update() {
    const chosen = model.get("chosen");
    blocks.forEach((block, number) => block.update(chosen[number]));
    const stand = questions.map(({ right }, number) => standing(chosen[number], right));
    const count = (...names) => stand.filter((one) => names.includes(one)).length;
    const open = count("open", "wrong");
    score.textContent = open
      ? `${open} of ${questions.length} still open. Click a choice, or press its letter.`
      : `${count("first")} of ${questions.length} right at the first try.`;
  }
  model.on("change:chosen", update);
  update();
  return () => model.off("change:chosen", update);
}

export default { render };
