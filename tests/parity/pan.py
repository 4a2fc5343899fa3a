"""PAN against segmentation-models-pytorch, at a size that its pyramid takes: c5 is 8x8."""

from segbook.certificates.parity import Pair, without_aligned_corners
from segkit.models.pan import pan_resnet50, pan_resnet101


def ours(build):
    model = build(num_classes=5, gate="sigmoid")
    first = model.backbone.layer4[0].conv2
    first.dilation = first.padding = (2, 2)
    return model


def smp_pan(encoder):
    import segmentation_models_pytorch as smp

    return smp.PAN(encoder, encoder_weights=None, classes=5)


KEYS = [
    (r"^backbone\.", "encoder."),
    (r"^fpa\.image\.", "decoder.fpa.branch1.1."),
    (r"^fpa\.pixel\.", "decoder.fpa.mid.0."),
    (r"^fpa\.down([123])\.", r"decoder.fpa.down\1.1."),
    (r"^fpa\.up3\.", "decoder.fpa.down3.2."),
    (r"^fpa\.up([12])\.", r"decoder.fpa.conv\1."),
    # Theirs count by level, one less than the stage that each one takes in.
    (r"^gau4\.", "decoder.gau[3]."),
    (r"^gau3\.", "decoder.gau[2]."),
    (r"^gau2\.", "decoder.gau[1]."),
    (r"\[(\d)\]\.weigh\.", r"\1.conv1.1."),
    (r"\[(\d)\]\.low\.", r"\1.conv2."),
    (r"^head\.", "segmentation_head.0."),
]
STAGES = {
    "c5": ("backbone.layer4", "encoder.layer4"),
    "p5": ("fpa", "decoder.fpa"),
    "p4": ("gau4", "decoder.gau3"),
    "p3": ("gau3", "decoder.gau2"),
    "p2": ("gau2", "decoder.gau1"),
}

PAIRS = [
    Pair(
        name=build.__name__,
        package="segmentation_models_pytorch",
        reference=f"smp.PAN({encoder!r})",
        ours=lambda build=build: ours(build),
        theirs=lambda encoder=encoder: smp_pan(encoder),
        keys=KEYS,
        stages=STAGES,
        run_theirs=without_aligned_corners,
        size=(128, 128),
        # Random running statistics let values grow with depth; in ResNet-101 beyond all bounds.
        modes=("eval", "train") if encoder == "resnet50" else ("train",),
        variant=(
            "gate='sigmoid', the paper has a ReLU; layer4 dilated from its first 3x3 convolution "
            "on, torchvision's from its second; theirs enlarges without aligned corners"
        ),
    )
    for build, encoder in [(pan_resnet50, "resnet50"), (pan_resnet101, "resnet101")]
]
