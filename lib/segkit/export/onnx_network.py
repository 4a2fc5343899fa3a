"""The network in an ONNX file, called as any other: what predicts and scores takes it, too."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import Tensor, nn

from segkit.export.files import need_onnx, open_onnx
from segkit.export.program import first_line
from segkit.outputs import SegOutput


class OnnxNetwork(nn.Module):
    """An ONNX file of ``segbook export``, in float32 or int8, run by onnxruntime on the CPU.

    Args:
        content: the file's, which takes uint8 RGB and normalises it itself.

    Attributes:
        header: what the file says of itself.
        normalisation: that of the images given: colours in 0..1, as `segkit.transforms.Normalize`
            has its arguments. They become 8 bits again.

    Returns (forward):
        `SegOutput` of images (B, 3, H, W).

    Raises:
        ValueError: no such file, or one that takes or gives something else; of forward, where it
            fails on the images, or its logits have another size.
        ImportError: the packages for ONNX are not installed.
    """

    normalisation = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    sha256: Tensor

    def __init__(self, content: bytes) -> None:
        super().__init__()
        need_onnx()
        try:
            self._session = open_onnx(content)
            self.header = json.loads(self._session.get_modelmeta().custom_metadata_map["segkit"])
            colours = self.header["input"]["colours"]
        except KeyError:
            raise ValueError(
                "is an ONNX file that does not say how its images are normalised: take one of "
                "`segbook export RUN --to onnx`"
            ) from None
        except Exception as error:  # onnxruntime has its own for each kind of damage
            raise ValueError(f"is no ONNX file that can be read: {first_line(error)}") from error
        if not str(colours).startswith("RGB"):
            raise ValueError(
                f"is an ONNX file of colours {colours!r:.80}, and RGB is given here: take one of "
                "`segbook export RUN --to onnx`"
            )
        _check(self._session)
        # Tells its predictions from those of another file, as weights would.
        digest = hashlib.sha256(content).digest()
        self.register_buffer("sha256", torch.tensor(list(digest), dtype=torch.uint8))

    def forward(self, images: Tensor) -> SegOutput:
        """The logits of images; see the class."""
        colours = (images.float() * 255).round().clamp(0, 255).to("cpu", torch.uint8)
        # One by one: some networks take no more.
        try:
            found = [self._session.run(None, {"images": one[None].numpy()})[0] for one in colours]
            logits = torch.cat([*map(torch.from_numpy, found)])
        except Exception as error:  # onnxruntime has its own for each kind of failure
            raise ValueError(
                f"the ONNX file fails on images of shape {tuple(images.shape)}: {first_line(error)}"
            ) from error
        if logits.shape[2:] != images.shape[2:]:
            raise ValueError(
                f"the ONNX file gives logits of shape {tuple(logits.shape)} for images of "
                f"{tuple(images.shape)}: take one of `segbook export`, which has one for each pixel"
            )
        return SegOutput(logits.to(images.device), {})


def _check(session: Any) -> None:
    """Refuse another input or output than `segkit.export.export_network` gives a file."""
    takes, gives = session.get_inputs(), session.get_outputs()
    # A name, or nothing, stands for a side of any length.
    found = [(one.name, one.type, [isinstance(n, int) and n for n in one.shape]) for one in takes]
    allowed = [[("images", "tensor(uint8)", [batch, 3, False, False])] for batch in (False, 1)]
    if found not in allowed or gives[0].type != "tensor(float)":
        said = [
            " and ".join(f"{one.name} {one.type} {one.shape}" for one in ones)
            for ones in (takes, gives)
        ]
        raise ValueError(
            f"is an ONNX file that takes {said[0]:.200} and gives {said[1]:.200}; needed is uint8 "
            "RGB, images [batch, 3, height, width] of any size, and float32 logits: take one of "
            "`segbook export RUN --to onnx`"
        )
