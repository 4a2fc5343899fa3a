"""UPerNet against segmentation-models-pytorch and transformers."""

from torch import nn

from segbook.certificates.parity import Pair, without_aligned_corners
from segkit.backbones.resnet import resnet50
from segkit.models.upernet import UPerNet, upernet_resnet50
from segkit.outputs import Stages


class Normalised(nn.Module):
    """A backbone whose stages are layer-normalised, as smp has it."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.channels, self.strides = backbone, backbone.channels, backbone.strides
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for width in self.channels)

    def forward(self, images):
        stages = zip(self.norms, self.backbone(images), strict=True)
        return Stages(*(norm(c.movedim(1, -1)).movedim(-1, 1) for norm, c in stages))


def smp_ours():
    return UPerNet(Normalised(resnet50()), num_classes=5, channels=256, aux=False)


def smp_theirs():
    import segmentation_models_pytorch as smp

    return smp.UPerNet("resnet50", encoder_weights=None, classes=5)


def transformers_theirs():
    from transformers import ResNetConfig, UperNetConfig, UperNetForSemanticSegmentation

    stages = [f"stage{number}" for number in (1, 2, 3, 4)]
    config = UperNetConfig(
        backbone_config=ResNetConfig(out_features=stages),
        hidden_size=64,
        auxiliary_in_channels=1024,
        auxiliary_channels=256,
        num_labels=5,
    )
    return UperNetForSemanticSegmentation(config)


def transformers_run(model, images):
    aux = []
    hook = model.auxiliary_head.register_forward_hook(
        lambda module, args, scores: aux.append(scores)
    )
    logits = model(images).logits
    hook.remove()
    return {"logits": logits} | ({"c4": aux[0]} if model.training else {})


RESNET = [
    (r"^backbone\.conv1\.", "backbone.embedder.embedder.convolution."),
    (r"^backbone\.bn1\.", "backbone.embedder.embedder.normalization."),
    (r"^backbone\.layer1\.", "backbone.encoder.stages.0.layers."),
    (r"^backbone\.layer2\.", "backbone.encoder.stages.1.layers."),
    (r"^backbone\.layer3\.", "backbone.encoder.stages.2.layers."),
    (r"^backbone\.layer4\.", "backbone.encoder.stages.3.layers."),
    (r"layers\.(\d+)\.conv1\.", r"layers.\1.layer.0.convolution."),
    (r"layers\.(\d+)\.bn1\.", r"layers.\1.layer.0.normalization."),
    (r"layers\.(\d+)\.conv2\.", r"layers.\1.layer.1.convolution."),
    (r"layers\.(\d+)\.bn2\.", r"layers.\1.layer.1.normalization."),
    (r"layers\.(\d+)\.conv3\.", r"layers.\1.layer.2.convolution."),
    (r"layers\.(\d+)\.bn3\.", r"layers.\1.layer.2.normalization."),
    (r"layers\.0\.downsample\.0\.", "layers.0.shortcut.convolution."),
    (r"layers\.0\.downsample\.1\.", "layers.0.shortcut.normalization."),
]

PAIRS = [
    Pair(
        name="upernet_resnet50",
        package="segmentation_models_pytorch",
        reference="smp.UPerNet('resnet50')",
        ours=smp_ours,
        theirs=smp_theirs,
        keys=[
            (r"^backbone\.backbone\.", "encoder."),
            (r"^backbone\.norms\.", "decoder.feature_norms."),
            (r"^pyramid\.convs\.(\d)\.conv\.", r"decoder.psp.blocks.\1.1.0."),
            (r"^pyramid\.convs\.(\d)\.bn\.", r"decoder.psp.blocks.\1.1.1."),
            (r"^context\.conv\.", "decoder.psp.out_conv.0."),
            (r"^context\.bn\.", "decoder.psp.out_conv.1."),
            # Theirs count from c4 to c2.
            (r"^laterals\.0\.", "decoder.fpn_lateral_blocks.[2].conv_norm_relu."),
            (r"^laterals\.1\.", "decoder.fpn_lateral_blocks.[1].conv_norm_relu."),
            (r"^laterals\.2\.", "decoder.fpn_lateral_blocks.[0].conv_norm_relu."),
            (r"^smooth\.0\.", "decoder.fpn_conv_blocks.[2]."),
            (r"^smooth\.1\.", "decoder.fpn_conv_blocks.[1]."),
            (r"^smooth\.2\.", "decoder.fpn_conv_blocks.[0]."),
            (r"^fuse\.", "decoder.fusion_block."),
            (r"\[(\d)\]", r"\1"),
            (r"^(decoder\.f.*)\.conv\.", r"\1.0."),
            (r"^(decoder\.f.*)\.bn\.", r"\1.1."),
            (r"^head\.", "segmentation_head.0."),
        ],
        stages={
            "c5": ("backbone.backbone.layer4", "encoder.layer4"),
            "p5": ("context", "decoder.psp"),
            "p2": ("smooth.0", "decoder.fpn_conv_blocks.2"),
            "fused": ("fuse", "decoder.fusion_block"),
        },
        run_theirs=without_aligned_corners,
        size=(64, 64),
        variant=(
            "channels=256, no aux head, a backbone whose stages are layer-normalised; their scores "
            "are enlarged without aligned corners"
        ),
    ),
    Pair(
        name="upernet_resnet50",
        package="transformers",
        reference="UperNetForSemanticSegmentation(resnet-50)",
        ours=lambda: upernet_resnet50(num_classes=5, channels=64),
        theirs=transformers_theirs,
        keys=[
            *RESNET,
            (r"^pyramid\.convs\.(\d)\.", r"decode_head.psp_modules.\1.1."),
            (r"^context\.", "decode_head.bottleneck."),
            (r"^laterals\.", "decode_head.lateral_convs."),
            (r"^smooth\.", "decode_head.fpn_convs."),
            (r"^fuse\.", "decode_head.fpn_bottleneck."),
            (r"^head\.", "decode_head.classifier."),
            (r"^(decode_head.*)\.bn\.", r"\1.batch_norm."),
            (r"^aux_head\.0\.", "auxiliary_head.convs.0.conv."),
            (r"^aux_head\.1\.", "auxiliary_head.convs.0.batch_norm."),
            (r"^aux_head\.4\.", "auxiliary_head.classifier."),
        ],
        stages={
            "p5": ("context", "decode_head.bottleneck"),
            "p2": ("smooth.0", "decode_head.fpn_convs.0"),
            "fused": ("fuse", "decode_head.fpn_bottleneck"),
        },
        run_theirs=transformers_run,
        size=(64, 64),
        variant="channels=64, to be quick",
    ),
]
