"""DeepLabV3+ against segmentation-models-pytorch."""

from segbook.certificates.parity import Pair
from segkit.backbones.mobilenet_v2 import mobilenet_v2
from segkit.backbones.resnet import resnet18, resnet50
from segkit.models.deeplab_v3_plus import DeepLabV3Plus


def smp_deeplab(encoder, stride):
    import segmentation_models_pytorch as smp

    return smp.DeepLabV3Plus(encoder, encoder_weights=None, encoder_output_stride=stride, classes=5)


def our_deeplab(build, stride, options):
    backbone = build(output_stride=stride, dilate_first=True, **options)
    return DeepLabV3Plus(
        backbone, num_classes=5, rates=(12, 24, 36), decoder_convs=1, depthwise_bn=False
    )


KEYS = [
    (r"^backbone\.", "encoder."),
    (r"^aspp\.pool\.conv\.", "decoder.aspp.0.convs.4.1."),
    (r"^aspp\.pool\.bn\.", "decoder.aspp.0.convs.4.2."),
    (r"^aspp\.(convs\.0|project)\.conv\.", r"decoder.aspp.0.\1.0."),
    (r"^aspp\.(convs\.0|project)\.bn\.", r"decoder.aspp.0.\1.1."),
    (r"^aspp\.(convs\.[123])\.0\.", r"decoder.aspp.0.\1.0.0."),
    (r"^aspp\.(convs\.[123])\.1\.conv\.", r"decoder.aspp.0.\1.0.1."),
    (r"^aspp\.(convs\.[123])\.1\.bn\.", r"decoder.aspp.0.\1.1."),
    (r"^smooth\.0\.", "decoder.aspp.1.0."),
    (r"^smooth\.1\.conv\.", "decoder.aspp.1.1."),
    (r"^smooth\.1\.bn\.", "decoder.aspp.2."),
    (r"^low\.conv\.", "decoder.block1.0."),
    (r"^low\.bn\.", "decoder.block1.1."),
    (r"^decoder\.0\.0\.", "decoder.block2.0.0."),
    (r"^decoder\.0\.1\.conv\.", "decoder.block2.0.1."),
    (r"^decoder\.0\.1\.bn\.", "decoder.block2.1."),
    (r"^head\.", "segmentation_head.0."),
]
STAGES = {
    "aspp": ("aspp", "decoder.aspp.0"),
    "context": ("smooth", "decoder.aspp"),
    "low": ("low", "decoder.block1"),
    "decoder": ("decoder", "decoder.block2"),
    "scores": ("head", "segmentation_head.0"),
}

PAIRS = [
    Pair(
        name=f"deeplab_v3_plus_{build.__name__}",
        package="segmentation_models_pytorch",
        reference=f"smp.DeepLabV3Plus({build.__name__!r}), output stride {stride}",
        ours=lambda build=build, stride=stride, options=options: our_deeplab(
            build, stride, options
        ),
        theirs=lambda build=build, stride=stride: smp_deeplab(build.__name__, stride),
        keys=KEYS,
        stages=STAGES,
        size=(32, 48),
        variant=(
            "decoder_convs=1, depthwise_bn=False, rates 12, 24 and 36, dilate_first=True"
            + (", last_conv=True" if options else "")
        ),
    )
    for build, stride, options in [
        (resnet18, 16, {}),
        (resnet50, 16, {}),
        (resnet50, 8, {}),
        (mobilenet_v2, 16, {"last_conv": True}),
    ]
]
