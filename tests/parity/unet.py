"""U-Net on ResNets against segmentation-models-pytorch."""

from segbook.certificates.parity import Pair
from segkit.models.unet import unet_resnet18, unet_resnet34, unet_resnet50


def smp_unet(encoder):
    import segmentation_models_pytorch as smp

    return smp.Unet(encoder, encoder_weights=None, classes=5)


# Theirs number convolution and batch normalisation in sequences.
KEYS = [
    (r"^backbone\.", "encoder."),
    (r"^decoder\.", "decoder.blocks."),
    (r"\.convs\.0\.conv\.", ".conv1.0."),
    (r"\.convs\.0\.bn\.", ".conv1.1."),
    (r"\.convs\.1\.conv\.", ".conv2.0."),
    (r"\.convs\.1\.bn\.", ".conv2.1."),
    (r"^head\.", "segmentation_head.0."),
]
STAGES = {
    "c2": ("backbone.layer1", "encoder.layer1"),
    "c5": ("backbone.layer4", "encoder.layer4"),
    "up4": ("decoder.0", "decoder.blocks.0"),
    "up0": ("decoder.4", "decoder.blocks.4"),
}

PAIRS = [
    Pair(
        name=build.__name__,
        package="segmentation_models_pytorch",
        reference=f"smp.Unet({encoder!r})",
        ours=lambda build=build: build(num_classes=5),
        theirs=lambda encoder=encoder: smp_unet(encoder),
        keys=KEYS,
        stages=STAGES,
    )
    for build, encoder in [
        (unet_resnet18, "resnet18"),
        (unet_resnet34, "resnet34"),
        (unet_resnet50, "resnet50"),
    ]
]
