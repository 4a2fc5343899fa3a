"""DeepLabV3 against torchvision and segmentation-models-pytorch."""

import functools

import torch

from segbook.certificates.parity import Pair
from segkit.backbones.resnet import resnet34
from segkit.models.deeplab_v3 import (
    DeepLabV3,
    deeplab_v3_mobilenet_v3_large,
    deeplab_v3_resnet50,
)
from segkit.nn import ResizeLogits, resize
from segkit.weights.converters import from_torchvision


def torchvision_deeplab(name):
    from torchvision.models import segmentation

    build = getattr(segmentation, name)
    return build(weights=None, weights_backbone=None, num_classes=5, aux_loss=True)


@functools.cache
def their_names(name):
    """torchvision's name of each of our tensors, from the function that renames its weights."""
    with torch.device("meta"):
        names = list(torchvision_deeplab(name).state_dict())
    return dict(
        zip(from_torchvision(dict.fromkeys(names), network="DeepLabV3"), names, strict=True)
    )


def smp_deeplab():
    import segmentation_models_pytorch as smp

    return smp.DeepLabV3("resnet34", encoder_weights=None, classes=5)


def run_ours(model, images):
    """With the aux scores enlarged, as torchvision's are."""
    logits, aux = model(images)
    return {"logits": logits} | {f"aux {k}": resize(v, images.shape[-2:]) for k, v in aux.items()}


def run_torchvision(stage):
    def run(model, images):
        result = model(images)
        aux = {f"aux {stage}": result["aux"]} if model.training else {}
        return {"logits": result["out"]} | aux

    return run


def run_smp(model, images):
    """Theirs aligns corners in the last enlargement; the scores before it are compared."""
    scores = model.segmentation_head[0](model.decoder(model.encoder(images)))
    return ResizeLogits()(scores, images.shape[-2:])


SMP = [
    (r"^aspp\.pool\.conv\.", "aspp.convs.4.1."),
    (r"^aspp\.pool\.bn\.", "aspp.convs.4.2."),
    (r"^(aspp\..*)\.conv\.", r"\1.0."),
    (r"^(aspp\..*)\.bn\.", r"\1.1."),
    (r"^aspp\.", "decoder.aspp."),
    (r"^backbone\.", "encoder."),
    (r"^head_conv\.", "decoder."),
    (r"^head\.", "segmentation_head.0."),
]

PAIRS = [
    Pair(
        name=build.__name__,
        package="torchvision",
        reference=f"torchvision {theirs}",
        ours=lambda build=build: build(num_classes=5),
        theirs=lambda theirs=theirs: torchvision_deeplab(theirs),
        keys=[(".+", lambda key, theirs=theirs: their_names(theirs).get(key[0], key[0]))],
        stages={
            "rate 24": ("aspp.convs.2", "classifier.0.convs.2"),
            "aspp": ("aspp.project", "classifier.0.project"),
        },
        run_ours=run_ours,
        run_theirs=run_torchvision(stage),
        size=(33, 48),
    )
    for build, theirs, stage in [
        (deeplab_v3_resnet50, "deeplabv3_resnet50", "c4"),
        (deeplab_v3_mobilenet_v3_large, "deeplabv3_mobilenet_v3_large", "c3"),
    ]
] + [
    Pair(
        name="deeplab_v3_resnet34",
        package="segmentation_models_pytorch",
        reference="smp.DeepLabV3('resnet34')",
        ours=lambda: DeepLabV3(
            resnet34(output_stride=8, dilate_first=True), num_classes=5, aux=None
        ),
        theirs=smp_deeplab,
        keys=SMP,
        stages={
            "c5": ("backbone.layer4", "encoder.layer4"),
            "aspp": ("aspp.project", "decoder.aspp.project"),
        },
        run_theirs=run_smp,
        size=(32, 48),
        variant="dilate_first=True, no aux head; enlarged without aligned corners on both sides",
    )
]
