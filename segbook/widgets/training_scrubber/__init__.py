"""The training scrubber: what a network said of a photograph, step after step, beside its loss."""

from __future__ import annotations

import os
from typing import Any

import traitlets

from segbook import text
from segbook.figures.filmstrip import filmstrip, image_miou
from segbook.figures.pictures import check_classes, label_map
from segbook.runs.folder import RunFolder
from segbook.runs.recording import open_recording
from segbook.widgets.sent import check_index, drawn, jpeg, packed, plain
from segbook.widgets.widget import Widget, sources
from segkit.outputs import IGNORE


class TrainingScrubber(Widget):
    """Recorded predictions over the steps of a training, beside its loss and mIoU.

    The run must have watched validation images: the recipe's ``watch`` names them.

    Args:
        run: a run folder, also one that is still training; the path of one or of a published run
            such as ``"docs/runs/NAME"``; or a name, see `segbook.runs.recording.open_recording`.

    Attributes:
        frame: which of the recorded steps is shown, from 0.
        layer: ``"prediction"``, ``"error"``, ``"truth"`` or ``"photograph"``.
        opacity: of the class colours over the photograph, 0..1.
        index: which of the photographs is shown, from 0.
        steps: the steps after which there are predictions.

    Raises:
        ValueError: no such run, it watched nothing, or a file of it is damaged.

    Example:
        >>> scrubber = TrainingScrubber("docs/runs/unet_resnet18_camvid_cpu")  # doctest: +SKIP
        >>> scrubber.frame = 3  # doctest: +SKIP
    """

    _esm, _css = sources("training_scrubber")
    title = "Training scrubber"
    state = ("heading", "steps", "total", "photographs", "losses", "miou", "policy", "classes")
    state += ("palette", "ignore", "frame", "layer", "opacity", "index")

    heading = traitlets.Unicode(read_only=True).tag(sync=True)
    steps = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    total = traitlets.Int(read_only=True).tag(sync=True)
    photographs = traitlets.List(traitlets.Dict(), read_only=True).tag(sync=True)
    losses = traitlets.List(traitlets.List(), read_only=True).tag(sync=True)
    miou = traitlets.List(traitlets.List(), read_only=True).tag(sync=True)
    policy = traitlets.Unicode(read_only=True).tag(sync=True)
    classes = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    palette = traitlets.List(traitlets.List(traitlets.Int()), read_only=True).tag(sync=True)
    ignore = traitlets.Int(IGNORE, read_only=True).tag(sync=True)
    frame = traitlets.Int(0).tag(sync=True)
    layer = traitlets.Enum(("prediction", "error", "truth", "photograph"), "prediction").tag(
        sync=True
    )
    opacity = traitlets.Float(0.7, min=0, max=1).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)

    def __init__(self, run: str | os.PathLike[str] | RunFolder, **settings: Any) -> None:
        found = open_recording(run)
        check_classes(found.classes, found.palette)
        for one in found.photographs:
            for ids in (one.truth, *one.predictions):
                label_map(ids, len(found.classes), size=one.image.shape[:2], what=one.name)
        if not found.photographs or not found.steps:
            raise ValueError(f"{text.one_line(found.run)} recorded no photograph; nothing to show")
        self._recording = found
        super().__init__(**{"frame": len(found.steps) - 1} | settings)
        seed = f"seed {found.seed}"
        self.set_trait(
            "heading", text.one_line(f"{found.run}: {found.model}, {found.data}, {seed}")
        )
        self.set_trait("steps", found.steps)
        self.set_trait("total", found.total)
        self.set_trait("losses", [list(pair) for pair in found.losses])
        self.set_trait("miou", [list(pair) for pair in found.miou])
        self.set_trait("policy", text.one_line(found.policy))
        self.set_trait("classes", [text.one_line(name) for name in found.classes])
        self.set_trait("palette", plain(found.palette))
        self.set_trait(
            "photographs",
            [
                {
                    "name": text.one_line(one.name),
                    "height": one.truth.shape[0],
                    "width": one.truth.shape[1],
                    "image": jpeg(one.image),
                    "truth": packed(one.truth),
                    "frames": [packed(ids) for ids in one.predictions],
                }
                for one in found.photographs
            ],
        )

    @traitlets.validate("frame", "index")
    def _exists(self, proposal: dict) -> int:
        found = self._recording
        name, value = proposal["trait"].name, proposal["value"]
        count = len(found.steps if name == "frame" else found.photographs)
        return check_index(value, count, name)

    def __repr__(self) -> str:
        """What is in it, the same in every run, so that executed notebooks can be compared."""
        found, count = self._recording, len(self._recording.photographs)
        return (
            f"TrainingScrubber({found.run}, {count} photograph{'s' * (count > 1)}, "
            f"{len(found.steps)} steps of 1 to {found.total})"
        )

    def alt(self, picture: bytes = b"") -> str:
        """The strip in words: where the training began and what it came to on this photograph."""
        found = self._recording
        one = found.photographs[self.index]
        scores = [
            100 * image_miou(ids, one.truth, len(found.classes))
            for ids in (one.predictions[0], one.predictions[-1])
        ]
        return (
            f"Predictions of {found.model} on {one.name} from step {found.steps[0]} to step "
            f"{found.steps[-1]}: mIoU {scores[0]:.1f} to {scores[1]:.1f} on this photograph"
        )

    def snapshot(self) -> bytes:
        """A strip of six steps of the photograph that is shown, over the curves.

        Returns:
            PNG bytes.
        """
        found = self._recording
        one = found.photographs[self.index]
        figure = filmstrip(
            one.image,
            one.truth,
            one.predictions,
            found.steps,
            found.classes,
            found.palette,
            losses=found.losses,
            miou=found.miou,
            policy=found.policy,
            title=self.heading,
        )
        return drawn(figure)
