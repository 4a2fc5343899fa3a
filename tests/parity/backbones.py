"""ResNets and MobileNets against the code of timm and segmentation-models-pytorch."""

from segbook.certificates.parity import Pair
from segkit.backbones import mobilenet_v1, mobilenet_v2, mobilenet_v3, resnet

STAGES = ("c2", "c3", "c4", "c5")


def timm_features(name, **options):
    import timm

    return timm.create_model(name, features_only=True, **options)


def smp_encoder(name, output_stride):
    import segmentation_models_pytorch as smp

    return smp.encoders.get_encoder(name, weights=None, output_stride=output_stride)


def last_four(model, images):
    return dict(zip(STAGES, model(images)[-4:], strict=True))


def timm_pair(build, reference, keys=(), *, variant="", theirs=None, **options):
    """`options` are given to both, `theirs` to timm alone."""
    stride = options.get("output_stride", 32)
    return Pair(
        name=f"backbones.{build.__name__}",
        package="timm",
        reference=f"timm.{reference}" + (f" at stride {stride}" if stride != 32 else ""),
        ours=lambda: build(**options),
        theirs=lambda: timm_features(reference, **options, **(theirs or {})),
        keys=keys,
        run_theirs=last_four,
        variant=variant,
    )


def smp_pair(build, encoder, output_stride, **options):
    said = "".join(f", {key}={value}" for key, value in options.items())
    return Pair(
        name=f"backbones.{build.__name__}",
        package="segmentation_models_pytorch",
        reference=f"smp {encoder} at stride {output_stride}",
        ours=lambda: build(output_stride=output_stride, dilate_first=True, **options),
        theirs=lambda: smp_encoder(encoder, output_stride),
        run_theirs=last_four,
        variant=f"dilate_first=True{said}: smp dilates whole stages",
    )


def numbered(depths, *rules):
    """Rename block i of one sequence to block j of stage s, then the layers in it."""
    flat = [(stage, unit) for stage, depth in enumerate(depths) for unit in range(depth)]
    names = [
        (rf"^features\.{i}\.", f"blocks.{stage}.{unit}.")
        for i, (stage, unit) in enumerate(flat, start=1)
    ]
    return [*names, *rules]


# timm holds the deep stem in one sequence: convolution, normalisation, activation and again.
PLACES = {"0.conv": 0, "0.bn": 1, "1.conv": 3, "1.bn": 4, "2": 6}
DEEP_STEM = [
    (
        r"^conv1\.(\d\.conv|\d\.bn|2)\.(?=\w+$)",
        lambda match: f"conv1.{PLACES[match[1]]}.",
    )
]

# timm also counts a place for the pooling where the size stays.
FIRST_SHORTCUT = [
    (r"^layer1\.0\.downsample\.1\.", "layer1.0.downsample.2."),
    (r"^layer1\.0\.downsample\.0\.", "layer1.0.downsample.1."),
]

STEM = [(r"^features\.0\.(0|conv)\.", "conv_stem."), (r"^features\.0\.(1|bn)\.", "bn1.")]
MOBILENET_V1 = [
    *STEM,
    *numbered(
        (1, 2, 2, 6, 2),
        (r"\.0\.conv\.(\w+)$", r".conv_dw.\1"),
        (r"\.0\.bn\.(\w+)$", r".bn1.\1"),
        (r"\.1\.conv\.(\w+)$", r".conv_pw.\1"),
        (r"\.1\.bn\.(\w+)$", r".bn2.\1"),
    ),
]
# The first block has nothing to widen, so its depthwise convolution comes first.
MOBILENET_V2 = [
    *STEM,
    *numbered(
        (1, 2, 3, 4, 3, 3, 1),
        (r"^blocks\.0\.0\.conv\.0\.0\.", "blocks.0.0.conv_dw."),
        (r"^blocks\.0\.0\.conv\.0\.1\.", "blocks.0.0.bn1."),
        (r"^blocks\.0\.0\.conv\.1\.", "blocks.0.0.conv_pw."),
        (r"^blocks\.0\.0\.conv\.2\.", "blocks.0.0.bn2."),
        (r"\.conv\.0\.0\.", ".conv_pw."),
        (r"\.conv\.0\.1\.", ".bn1."),
        (r"\.conv\.1\.0\.", ".conv_dw."),
        (r"\.conv\.1\.1\.", ".bn2."),
        (r"\.conv\.2\.", ".conv_pwl."),
        (r"\.conv\.3\.", ".bn3."),
    ),
]
MOBILENET_V3 = [
    *STEM,
    *numbered(
        (1, 2, 3, 4, 2, 3, 1),
        (r"^blocks\.6\.0\.0\.", "blocks.6.0.conv."),
        (r"^blocks\.6\.0\.1\.", "blocks.6.0.bn1."),
        (r"^blocks\.0\.0\.block\.0\.0\.", "blocks.0.0.conv_dw."),
        (r"^blocks\.0\.0\.block\.0\.1\.", "blocks.0.0.bn1."),
        (r"^blocks\.0\.0\.block\.1\.0\.", "blocks.0.0.conv_pw."),
        (r"^blocks\.0\.0\.block\.1\.1\.", "blocks.0.0.bn2."),
        (r"\.block\.2\.fc1\.", ".se.conv_reduce."),
        (r"\.block\.2\.fc2\.", ".se.conv_expand."),
        (r"\.block\.0\.0\.", ".conv_pw."),
        (r"\.block\.0\.1\.", ".bn1."),
        (r"\.block\.1\.0\.", ".conv_dw."),
        (r"\.block\.1\.1\.", ".bn2."),
        (r"\.block\.[23]\.0\.", ".conv_pwl."),
        (r"\.block\.[23]\.1\.", ".bn3."),
    ),
]
PAIRS = [
    timm_pair(resnet.resnet18, "resnet18"),
    timm_pair(resnet.resnet18, "resnet18", output_stride=8),
    timm_pair(resnet.resnet50, "resnet50", output_stride=8),
    timm_pair(resnet.resnet18_vd, "resnet18d", DEEP_STEM),
    timm_pair(resnet.resnet50_v1c, "resnet50c", DEEP_STEM),
    timm_pair(resnet.resnet50_v1c, "resnet50c", DEEP_STEM, output_stride=16),
    timm_pair(resnet.resnet50_vd, "resnet50d", [*DEEP_STEM, *FIRST_SHORTCUT]),
    timm_pair(
        mobilenet_v1.mobilenet_v1,
        "mobilenetv1_100",
        MOBILENET_V1,
        theirs={"act_layer": "relu"},
        variant="timm's with ReLU, as in the paper, for ReLU6",
    ),
    timm_pair(mobilenet_v2.mobilenet_v2, "mobilenetv2_100", MOBILENET_V2),
    timm_pair(
        mobilenet_v3.mobilenet_v3_large,
        "mobilenetv3_large_100",
        MOBILENET_V3,
        theirs={"bn_eps": 1e-3, "bn_momentum": 0.01},
        variant="timm's with torchvision's epsilon and momentum in batch normalisation",
    ),
    smp_pair(resnet.resnet18, "resnet18", 16),
    smp_pair(resnet.resnet18, "resnet18", 8),
    smp_pair(resnet.resnet50, "resnet50", 16),
    smp_pair(mobilenet_v2.mobilenet_v2, "mobilenet_v2", 16, last_conv=True),
    smp_pair(mobilenet_v2.mobilenet_v2, "mobilenet_v2", 8, last_conv=True),
]
