// A chapter's widgets, alive without a kernel. Scripts, not modules or data that are fetched: those
// a browser refuses on a page that is opened as a file.
for (const place of document.querySelectorAll("[data-live]")) {
  const [name, state] = LIVE[place.dataset.live];
  const { esm, css } = WIDGETS[name];
  if (!document.getElementById(`css-${name}`)) {
    const style = document.createElement("style");
    [style.id, style.textContent] = [`css-${name}`, css];
    document.head.append(style);
  }
  import(`data:text/javascript;base64,${esm}`).then(({ default: widget }) => {
    place.replaceChildren(); // the picture that stood for it
    widget.render({ model: modelOf(state), el: place });
  });
}
