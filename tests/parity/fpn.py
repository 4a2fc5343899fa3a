"""Semantic FPN against segmentation-models-pytorch."""

from segbook.certificates.parity import Pair, without_aligned_corners
from segkit.models.fpn import fpn_resnet50, fpn_resnet101


def smp_fpn(encoder):
    import segmentation_models_pytorch as smp

    return smp.FPN(encoder, encoder_weights=None, classes=5)


KEYS = [
    (r"^backbone\.", "encoder."),
    (r"^pyramid\.laterals\.3\.", "decoder.p5."),
    (r"^pyramid\.laterals\.2\.", "decoder.p4.skip_conv."),
    (r"^pyramid\.laterals\.1\.", "decoder.p3.skip_conv."),
    (r"^pyramid\.laterals\.0\.", "decoder.p2.skip_conv."),
    # Theirs count from p5 to p2.
    (r"^branches\.0\.convs\.(\d)\.", r"decoder.seg_blocks.3.block.\1.block."),
    (r"^branches\.1\.convs\.(\d)\.", r"decoder.seg_blocks.2.block.\1.block."),
    (r"^branches\.2\.convs\.(\d)\.", r"decoder.seg_blocks.1.block.\1.block."),
    (r"^branches\.3\.convs\.(\d)\.", r"decoder.seg_blocks.0.block.\1.block."),
    (r"^head\.", "segmentation_head.0."),
]
STAGES = {
    "c5": ("backbone.layer4", "encoder.layer4"),
    "s5": ("branches.3", "decoder.seg_blocks.0"),
    "s2": ("branches.0", "decoder.seg_blocks.3"),
    "sum": ("dropout", "decoder.dropout"),
}

PAIRS = [
    Pair(
        name=build.__name__,
        package="segmentation_models_pytorch",
        reference=f"smp.FPN({encoder!r})",
        ours=lambda build=build: build(num_classes=5, smooth=False, dropout=0.2),
        theirs=lambda encoder=encoder: smp_fpn(encoder),
        keys=KEYS,
        stages=STAGES,
        run_theirs=without_aligned_corners,
        variant=(
            "smooth=False, for theirs lacks the pyramid's 3x3 convolutions, and dropout=0.2; "
            "theirs enlarges without aligned corners"
        ),
    )
    for build, encoder in [(fpn_resnet50, "resnet50"), (fpn_resnet101, "resnet101")]
]
