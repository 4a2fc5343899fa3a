"""U-Net++ on ResNets against segmentation-models-pytorch."""

from segbook.certificates.parity import Pair
from segkit.models.unet_plus_plus import (
    unet_plus_plus_resnet18,
    unet_plus_plus_resnet34,
    unet_plus_plus_resnet50,
)


def smp_unet_plus_plus(encoder):
    import segmentation_models_pytorch as smp

    return smp.UnetPlusPlus(encoder, encoder_weights=None, classes=5)


def their_node(level, column):
    """Their x_{depth}_{layer}: layers count from the lowest level, depths from the deepest node."""
    return f"x_{4 - level - column}_{3 - level}"


NODES = [(i, j) for i in range(4) for j in range(1, 5 - i)]
KEYS = [
    (r"^backbone\.", "encoder."),
    *[(rf"^nodes\.x{i}{j}\.", f"decoder.blocks.{their_node(i, j)}.") for i, j in NODES],
    (r"^last\.", "decoder.blocks.x_0_4."),
    (r"\.convs\.0\.conv\.", ".conv1.0."),
    (r"\.convs\.0\.bn\.", ".conv1.1."),
    (r"\.convs\.1\.conv\.", ".conv2.0."),
    (r"\.convs\.1\.bn\.", ".conv2.1."),
    (r"^head\.", "segmentation_head.0."),
]
STAGES = {
    "c5": ("backbone.layer4", "encoder.layer4"),
    **{f"x{i}{j}": (f"nodes.x{i}{j}", f"decoder.blocks.{their_node(i, j)}") for i, j in NODES},
    "last": ("last", "decoder.blocks.x_0_4"),
}


PAIRS = [
    Pair(
        name=build.__name__,
        package="segmentation_models_pytorch",
        reference=f"smp.UnetPlusPlus({encoder!r})",
        ours=lambda build=build: build(num_classes=5),
        theirs=lambda encoder=encoder: smp_unet_plus_plus(encoder),
        keys=KEYS,
        stages=STAGES,
        size=(32, 64),
    )
    for build, encoder in [
        (unet_plus_plus_resnet18, "resnet18"),
        (unet_plus_plus_resnet34, "resnet34"),
        (unet_plus_plus_resnet50, "resnet50"),
    ]
]
