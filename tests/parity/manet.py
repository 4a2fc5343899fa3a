"""MA-Net against segmentation-models-pytorch."""

from segbook.certificates.parity import ATTENTION, Pair
from segkit.models.manet import PositionAttention, manet_resnet34


class TheirAttention(PositionAttention):
    """One softmax over all pairs of pixels, and a result that is read without transposing it."""

    def gather(self, query, key, value):
        likeness = query.transpose(1, 2) @ key
        weights = likeness.flatten(1).softmax(dim=1).reshape(likeness.shape)
        return weights @ value.transpose(1, 2)


def ours():
    model = manet_resnet34(num_classes=5)
    model.context = TheirAttention(512)
    return model


def theirs():
    import segmentation_models_pytorch as smp

    return smp.MAnet("resnet34", encoder_weights=None, classes=5)


PAIRS = [
    Pair(
        name="manet_resnet34",
        package="segmentation_models_pytorch",
        reference="smp.MAnet('resnet34')",
        ours=ours,
        theirs=theirs,
        keys=[
            (r"^backbone\.", "encoder."),
            (r"^context\.query\.", "decoder.center.center_conv."),
            (r"^context\.key\.", "decoder.center.top_conv."),
            (r"^context\.value\.", "decoder.center.bottom_conv."),
            (r"^context\.smooth\.", "decoder.center.out_conv."),
            (r"^decoder\.(\d)\.reduce\.", r"decoder.blocks.\1.hl_conv."),
            (r"^decoder\.(\d)\.weigh_high\.", r"decoder.blocks.\1.SE_hl."),
            (r"^decoder\.(\d)\.weigh_low\.", r"decoder.blocks.\1.SE_ll."),
            (r"^decoder\.(\d)\.fuse\.0\.", r"decoder.blocks.\1.conv1."),
            (r"^decoder\.(\d)\.fuse\.1\.", r"decoder.blocks.\1.conv2."),
            (r"^refine\.0\.", "decoder.blocks.4.conv1."),
            (r"^refine\.1\.", "decoder.blocks.4.conv2."),
            (r"^(decoder\.blocks.*)\.conv\.", r"\1.0."),
            (r"^(decoder\.blocks.*)\.bn\.", r"\1.1."),
            (r"^head\.", "segmentation_head.0."),
        ],
        stages={
            "c5": ("backbone.layer4", "encoder.layer4"),
            "p5": ("context", "decoder.center"),
            "up4": ("decoder.0", "decoder.blocks.0"),
            "up1": ("decoder.3", "decoder.blocks.3"),
            "up0": ("refine", "decoder.blocks.4"),
        },
        tolerance=ATTENTION,
        variant="their attention, which is normalised over all pairs and not transposed back",
    )
]
