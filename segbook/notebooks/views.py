"""Widgets in a saved notebook: a view without its model gives way to what it showed.

A view is a reference to a model that lived in the kernel. Whoever opens the notebook later sees
"Error displaying widget: model not found" in its place, over the picture that lies beside it.
"""

from __future__ import annotations

import copy
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import nbformat

VIEW = "application/vnd.jupyter.widget-view+json"
OF_THE_BOOK = "segbook.widgets."
OF_EVERY_WIDGET = ("layout", "tabbable", "tooltip")


def still(
    outputs: Sequence[nbformat.NotebookNode],
    states: Mapping[str, Mapping[str, Any]],
    captured: Mapping[str, Sequence[nbformat.NotebookNode]],
) -> list[nbformat.NotebookNode]:
    """Outputs in which no widget is.

    A view gives way to its picture or its text, a progress bar to the words at its end; what was
    written into the ``Output`` widgets in it follows.

    Args:
        outputs: of a cell; they are left as they are.
        states: by model id.
        captured: by the model id of an ``Output`` widget, what it holds.
    """
    kept = []
    for output in outputs:
        data = output.get("data", {})
        if VIEW not in data:
            kept.append(output)
            continue
        view = data[VIEW]
        models = list(_tree(view.get("model_id") if isinstance(view, dict) else None, states))
        inside = [one for model in models for one in captured.get(model, ())]
        if not (inside and models[0] in captured):  # an Output widget has no text of its own
            data = {kind: value for kind, value in data.items() if kind != VIEW}
            if progress := _progress([states[model] for model in models]):
                data["text/plain"] = progress
            kept.append(nbformat.from_dict({**output, "data": data}))
        others = {model: held for model, held in captured.items() if model not in models}
        kept += still(inside, states, others)
    return kept


def live(
    cells: Sequence[nbformat.NotebookNode],
    states: Mapping[str, Mapping[str, Any]],
    buffers: Mapping[str, Mapping[Any, Mapping[str, Any]]],
) -> list[dict[str, Any]]:
    """The book's own widgets among the outputs, with all that their scripts read.

    A page can show them moving beside the notebook, which holds what `still` leaves of them.

    Args:
        cells: as the kernel wrote them.
        states: by model id.
        buffers: by model id, the bytes in its state as nbclient keeps them.

    Returns:
        For each the id of its ``cell``, the ``text`` that stands for it there, its class
        (``widget``) and its ``state``, in which bytes are ``{"base64": ...}``.
    """
    found = []
    for cell in cells:
        for output in cell.get("outputs", ()):
            view = output.get("data", {}).get(VIEW)
            model = str(view.get("model_id")) if isinstance(view, dict) else ""
            kind = str(states.get(model, {}).get("_anywidget_id"))
            if not kind.startswith(OF_THE_BOOK):
                continue
            state = {
                key: copy.deepcopy(value)
                for key, value in states[model].items()
                if key not in OF_EVERY_WIDGET and not key.startswith("_")
            }
            for buffer in buffers.get(model, {}).values():
                _put(state, buffer["path"], {"base64": buffer["data"]})
            name, text = kind.rpartition(".")[2], output.data.get("text/plain", "")
            found.append({"cell": cell.id, "text": text, "widget": name, "state": state})
    return found


def _put(state: Any, path: Sequence[Any], value: Any) -> None:
    """Set what lies at a path of keys and places."""
    *way, last = path
    for step in way:
        state = state[step]
    state[last] = value


def _tree(model: Any, states: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A model's id and those of the models in it, each once; a cell may show what is none."""
    waiting, seen = [str(model)], set()
    while waiting:
        model = waiting.pop(0)
        if model in states and model not in seen:
            seen.add(model)
            yield model
            children = states[model].get("children")
            if isinstance(children, list | tuple):
                waiting[:0] = [str(child).removeprefix("IPY_MODEL_") for child in children]


def _progress(models: Sequence[Mapping[str, Any]]) -> str:
    """What a progress bar says at its end; empty where there is none among the models."""
    bars = [model for model in models if "Progress" in str(model.get("_model_name"))]
    if not bars:
        return ""
    words = [
        html.unescape(re.sub(r"<[^>]*>", "", str(model.get("value", "")))).strip()
        for model in models
        if model.get("_model_name") in ("HTMLModel", "LabelModel")
    ]
    return " ".join(filter(None, words)) or ", ".join(
        " of ".join(_number(bar.get(key, 0)) for key in ("value", "max")) for bar in bars
    )


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
