"""LinkNet in smp's form against segmentation-models-pytorch."""

from segbook.certificates.parity import Pair
from segkit.models.linknet import linknet_resnet18, linknet_resnet34


def smp_linknet(encoder):
    import segmentation_models_pytorch as smp

    return smp.Linknet(encoder, encoder_weights=None, classes=5)


KEYS = [
    (r"^backbone\.", "encoder."),
    (r"^head\.0\.", "decoder.4."),
    (r"^decoder\.(\d)\.(\d)\.conv\.", r"decoder.blocks.\1.block.\2.0."),
    (r"^decoder\.(\d)\.(\d)\.bn\.", r"decoder.blocks.\1.block.\2.1."),
    (r"^head\.1\.", "segmentation_head.0."),
]
STAGES = {
    "c5": ("backbone.layer4", "encoder.layer4"),
    "up4": ("decoder.0", "decoder.blocks.0.block"),
    "up1": ("decoder.3", "decoder.blocks.3.block"),
    "up0": ("head.0", "decoder.blocks.4"),
}

PAIRS = [
    Pair(
        name=build.__name__,
        package="segmentation_models_pytorch",
        reference=f"smp.Linknet({encoder!r})",
        ours=lambda build=build: build(num_classes=5, form="smp"),
        theirs=lambda encoder=encoder: smp_linknet(encoder),
        keys=KEYS,
        stages=STAGES,
        variant="form='smp': other transposed kernels, last skip and head than the paper's",
    )
    for build, encoder in [(linknet_resnet18, "resnet18"), (linknet_resnet34, "resnet34")]
]
