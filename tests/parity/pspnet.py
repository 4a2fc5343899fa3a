"""PSPNet against segmentation-models-pytorch: the pooling of the pyramid, and what joins it."""

import torch
from torch import nn

from segbook.certificates.parity import Pair, without_aligned_corners
from segkit.backbones.resnet import resnet50
from segkit.models.pspnet import PSPNet
from segkit.nn import ConvBNReLU
from segkit.outputs import Stages


class UpToStride8(nn.Module):
    """A ResNet without layer3 and layer4, where smp's encoder of depth 3 ends."""

    def __init__(self, resnet):
        super().__init__()
        c2, c3, _, _ = resnet.channels
        self.channels = Stages(c2, c3, c3, c3)
        self.strides = Stages(4, 8, 8, 8)
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2"):
            setattr(self, name, getattr(resnet, name))

    def forward(self, images):
        c2 = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images)))))
        c3 = self.layer2(c2)
        return Stages(c2, c3, c3, c3)


def ours():
    model = PSPNet(UpToStride8(resnet50()), num_classes=5, aux=False)
    model.pyramid.convs[0] = nn.Sequential(nn.Conv2d(512, 128, 1), nn.ReLU())
    model.head = nn.Sequential(ConvBNReLU(1024, 512, 1), nn.Conv2d(512, 5, 3, padding=1))
    return model


class MapFirst(nn.Module):
    """Their pooled grids come before the map, the paper's after it."""

    def __init__(self, psp):
        super().__init__()
        self.psp = psp

    def forward(self, x):
        y = self.psp(x)
        return torch.cat([y[:, -x.shape[1] :], y[:, : -x.shape[1]]], dim=1)


def theirs():
    import segmentation_models_pytorch as smp

    model = smp.PSPNet("resnet50", encoder_weights=None, classes=5)
    model.decoder.psp = MapFirst(model.decoder.psp)
    return model


PAIRS = [
    Pair(
        name="pspnet_resnet50",
        package="segmentation_models_pytorch",
        reference="smp.PSPNet('resnet50')",
        ours=ours,
        theirs=theirs,
        keys=[
            (r"^backbone\.", "encoder."),
            (r"^pyramid\.convs\.0\.0\.", "decoder.psp.psp.blocks.0.pool.1.0."),
            (r"^pyramid\.convs\.(\d)\.conv\.", r"decoder.psp.psp.blocks.\1.pool.1.0."),
            (r"^pyramid\.convs\.(\d)\.bn\.", r"decoder.psp.psp.blocks.\1.pool.1.1."),
            (r"^head\.0\.conv\.", "decoder.conv.0."),
            (r"^head\.0\.bn\.", "decoder.conv.1."),
            (r"^head\.1\.", "segmentation_head.0."),
        ],
        stages={
            "c3": ("backbone.layer2", "encoder.layer2"),
            "pyramid": ("pyramid", "decoder.psp"),
            "fused": ("head.0", "decoder.conv"),
        },
        run_theirs=without_aligned_corners,
        theirs_alone=r"encoder\.layer[34]\..*",
        variant=(
            "theirs pools c3 of a ResNet cut after layer2, has no normalisation on the grid of one "
            "cell, a 1x1 convolution and then 3x3 scores, and aligns corners; ours is given that "
            "backbone and head, theirs corners that are not aligned"
        ),
    )
]
