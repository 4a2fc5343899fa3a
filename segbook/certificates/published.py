"""Weights that a paper's authors published, as files of ours, and what they measure here.

    segbook import-weights espnet_camvid espnet_p_2_q_8_camvid.pth espnet_camvid.safetensors

The authors' file is theirs: it is fetched by the user, and only the file whose checksum is below
is taken, since what its header will say was found out about that one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from segkit import engine
from segkit.catalog import load_model
from segkit.data import CamVid, camvid, sequential
from segkit.metrics import POLICIES
from segkit.models.espnet import espnet
from segkit.transforms.pair import check_pair
from segkit.weights import read_header, save_weights
from segkit.weights.converters import from_authors


class Published(NamedTuple):
    """One file on the net.

    Attributes:
        sha256: checksum of the authors' file.
        build: the builder, called with the header's ``arguments``.
        rename: renames the authors' tensors, given them and our names.
        header: of the file that is written; see `segkit.weights` for the usual fields.
    """

    sha256: str
    build: Callable[..., torch.nn.Module]
    rename: Callable[[Mapping[str, Tensor], Iterable[str]], dict[str, Tensor]]
    header: dict[str, Any]


PUBLISHED: dict[str, Published] = {
    "espnet_camvid": Published(
        sha256="7d354a257170322086dcd4c1e89a482454cf2c9d30b085e70883878dd59301af",
        build=espnet,
        rename=from_authors,
        header={
            "builder": "espnet",
            "arguments": {"num_classes": 12, "alpha2": 2, "alpha3": 8},
            "classes": [*camvid.CLASSES, "Void"],
            "palette": [*camvid.PALETTE, camvid.VOID_COLOUR],
            "note": "The authors trained void as a twelfth class. In a test it is never true: what "
            "it takes of labelled pixels is missed, and it has no part in the means.",
            # (pixels / 255 - mean) / std in this order of the channels. The authors take off a mean
            # of 0..255, divide by a deviation of 0..255, and then by 255 once more.
            "normalisation": {
                "channels": "BGR",
                "mean": [110.33139 / 255, 108.40919 / 255, 105.03353 / 255],
                "std": [72.125206, 72.68849, 69.902596],
            },
            "metric": "miou",
            "value": 0.5564,
            "policy": "void_as_fp_in_truth",
            "class_accuracy": 0.6830,
            "data": "CamVid test, 233 images of 480x360",
            "licence": "MIT",
            "source": "https://github.com/sacmehta/ESPNet/blob/"
            "afe71c38edaee3514ca44e0adcafdf36109bf437/pretrained/decoder/espnet_p_2_q_8_camvid.pth",
        },
    ),
}
"""What can be imported, by name. Metric and value are the authors', the policy is our finding."""


class AuthorsNormalize:
    """Make what published weights take, as their header says; takes the place of `Normalize`.

    Args:
        channels: an order of "R", "G" and "B": that of the network's input.
        mean: of 0..1, in that order.
        std: in that order.
    """

    def __init__(self, *, channels: str, mean: list[float], std: list[float]) -> None:
        self.order = ["RGB".index(channel) for channel in channels]
        self.mean = torch.tensor(mean)[:, None, None]
        self.std = torch.tensor(std)[:, None, None]

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Give float32 (3, H, W) and int64 (H, W)."""
        check_pair(image, mask)
        return self.image(image), mask.to(torch.int64)

    def image(self, image: Tensor) -> Tensor:
        """Give float32 (3, H, W) of an image alone, uint8 RGB."""
        pixels = image[self.order].to(torch.float32)
        return pixels.div_(255).sub_(self.mean).div_(self.std)


def import_weights(name: str, source: str | Path, out: str | Path) -> Path:
    """Turn the authors' file into one that `segkit.catalog.load_model` reads.

    Args:
        name: what it is, a key of `PUBLISHED`.
        source: the authors' file, a PyTorch pickle; only tensors are read from it.
        out: the file to write, ending in ``.safetensors``.

    Returns:
        The path of the file that was written.

    Raises:
        ValueError: an unknown name, no source file, another file than the one that is known, or an
            ``out`` that is a folder or has another suffix.
    """
    if name not in PUBLISHED:
        raise ValueError(f"no published weights are named {name!r}; known are {sorted(PUBLISHED)}")
    sha256, build, rename, header = PUBLISHED[name]
    if not Path(source).is_file():
        raise ValueError(
            f"{source} is no file: fetch the authors' file from {header['source']} and give its "
            "path"
        )
    if Path(out).is_dir():
        raise ValueError(
            f"{out} is a folder: name the file to write, such as {Path(out) / name}.safetensors"
        )
    with open(source, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ValueError(
            f"{source} has sha256 {found}, the published {name} has {sha256}: it is another file "
            f"or damaged. It comes from {header['source']}"
        )
    model = build(**header["arguments"])
    theirs = torch.load(source, map_location="cpu", weights_only=True)
    model.load_state_dict(rename(theirs, model.state_dict()))
    save_weights(model, out, header=header)
    return Path(out)


def evaluate_published(
    weights_file: str | Path, data_root: str | Path, *, batch_size: int = 1
) -> dict[str, float]:
    """Measure imported weights on the test split of CamVid, images whole and at their own size.

    Args:
        weights_file: what `import_weights` wrote.
        data_root: the folder of CamVid.
        batch_size: images at a time; the scores do not depend on it.

    Returns:
        mIoU under every policy by its name, then "class_accuracy" and "pixel_accuracy"; 0..1.

    Raises:
        ValueError: not such a file, or no CamVid there.
    """
    model, header = load_model(weights_file)
    test = CamVid(
        data_root, "test", transform=AuthorsNormalize(**header["normalisation"]), cache=False
    )
    # Weight decay has left thousands of weights of dead branches at 1e-40 and thereabouts. On a CPU
    # such denormal numbers cost three times the whole rest; as zeros they give the same labels.
    torch.set_flush_denormal(True)
    try:
        counts = engine.evaluate(
            model.to(memory_format=torch.channels_last),
            sequential(test, batch_size),
            num_classes=header["arguments"]["num_classes"],
            channels_last=True,
        )
    finally:
        torch.set_flush_denormal(False)
    return {
        **{policy: counts.miou(policy) for policy in POLICIES},
        "class_accuracy": counts.class_accuracy(),
        "pixel_accuracy": counts.pixel_accuracy(),
    }


def compare(weights_file: str | Path, scores: Mapping[str, float]) -> str:
    """Put what was measured beside what the authors report, as a table.

    Args:
        weights_file: what `import_weights` wrote.
        scores: of `evaluate_published`.
    """
    header = read_header(weights_file)
    reported = {key: header[key] for key in ("class_accuracy", "pixel_accuracy") if key in header}
    reported[header["policy"]] = header["value"]
    lines = [f"{'percent':22} {'here':>7} {'authors':>8}"]
    for name, score in scores.items():
        theirs = f"{100 * reported[name]:8.2f}" if name in reported else ""
        lines.append(f"{name:22} {100 * score:7.2f} {theirs}".rstrip())
    return "\n".join(lines)
