"""Aligned Xception against timm."""

from torch.nn import functional as F

from segbook.certificates.parity import Pair
from segkit.backbones.xception import xception41, xception65, xception71


def timm_xception(name, output_stride):
    import timm

    return timm.create_model(name, num_classes=0, output_stride=output_stride)


def our_stages(model, images):
    """Theirs are taken behind the next ReLU."""
    c2, c3, c4, c5 = model(images)
    return {"c2": F.relu(c2), "c3": F.relu(c3), "c4": F.relu(c4), "c5": c5}


def their_stages(model, images):
    stages = model.forward_intermediates(images, intermediates_only=True)
    return dict(zip(("c2", "c3", "c4", "c5"), stages[1:], strict=True))


def keys(last):
    """Rules for a network whose last block, without a ReLU in front of each, is number `last`."""
    return [
        (r"^blocks\.(\d+)\.conv", r"blocks.\1.stack.conv"),
        (r"(stack\.conv\d)\.2\.(conv|bn)\.", r"\1.\2_pw."),
        (rf"(blocks\.{last}\.stack\.conv\d)\.1\.(conv|bn)\.", r"\1.\2_pw."),
        (r"(stack\.conv\d)\.[01]\.(conv|bn)\.", r"\1.\2_dw."),
    ]


PAIRS = [
    Pair(
        name=f"backbones.{build.__name__}",
        package="timm",
        reference=f"timm {build.__name__}, output stride {stride}",
        ours=lambda build=build, stride=stride: build(output_stride=stride),
        theirs=lambda build=build, stride=stride: timm_xception(build.__name__, stride),
        keys=keys(last),
        stages={"stem": ("stem", "stem"), "entry": ("blocks.0.conv3", "blocks.0.stack.conv3")},
        run_ours=our_stages,
        run_theirs=their_stages,
        size=(33, 48),
    )
    for build, last, stride in [
        (xception41, 12, 32),
        (xception65, 20, 16),
        (xception71, 22, 8),
    ]
]
