"""HRNet against timm, whose fusion interpolates to the nearest pixel."""

from segbook.certificates.parity import Pair
from segkit.backbones.hrnet import hrnet_w18, hrnet_w18_small


def timm_hrnet(name):
    import timm

    return timm.create_model(name, pretrained=False, head="")  # "": no classifier behind stage 4


def branches(model, images):
    """Their four branches of the last stage, by our names."""
    return dict(zip(("c2", "c3", "c4", "c5"), model.forward_features(images), strict=True))


# Our blocks name convolution and batch normalisation; theirs number them in nested sequences.
KEYS = [
    (r"^stem\.0\.(conv|bn)\.", r"\g<1>1."),
    (r"^stem\.1\.(conv|bn)\.", r"\g<1>2."),
    (r"^stage1\.", "layer1."),
    (r"^enter\.", "transition1.0."),
    (r"^down2\.", "transition1.1.0."),
    (r"^down3\.", "transition2.2.0."),
    (r"^down4\.", "transition3.3.0."),
    (r"\.paths\.", ".fuse_layers."),
    (r"\.conv\.", ".0."),
    (r"\.bn\.", ".1."),
]

PAIRS = [
    Pair(
        name=f"backbones.{build.__name__}",
        package="timm",
        reference=f"timm.create_model({name!r})",
        ours=lambda build=build: build(upsampling="nearest"),
        theirs=lambda name=name: timm_hrnet(name),
        keys=KEYS,
        stages={"stage1": ("stage1", "layer1"), "enter": ("enter", "transition1.0")},
        run_theirs=branches,
        variant="upsampling='nearest', as in the ImageNet release; the segmentation release and "
        "the paper are bilinear",
    )
    for build, name in [(hrnet_w18, "hrnet_w18"), (hrnet_w18_small, "hrnet_w18_small_v2")]
]
