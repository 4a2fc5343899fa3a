"""A small network to begin with: three scales down, two up.

    images ─ /2 ─ /4 ───────────── + ─ fuse /4 ─ head ─ logits, resized to the images
                   └─ /8 ─ context ┘

What a network here must keep, and `segbook doctor recipe.py` looks at: its builder takes
`num_classes` and `in_channels`; of images (B, C, H, W), of any size from 32 pixels up, it gives a
SegOutput with logits (B, K, H, W) of the images' size; `aux_losses` has an AuxLoss for each
auxiliary output, which it gives in train mode only.
"""

from torch import nn
from torch.nn import functional as F

from segkit import SegOutput
from segkit.losses import AuxLoss


def conv(in_channels, channels, *, stride=1, dilation=1):
    """A 3x3 convolution, BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels, channels, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
        ),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


class Net(nn.Module):
    """Change me."""

    aux_losses = {"context": AuxLoss(weight=0.4)}

    def __init__(self, num_classes, in_channels, width):
        super().__init__()
        self.stem = conv(in_channels, width, stride=2)
        self.down4 = conv(width, 2 * width, stride=2)
        self.down8 = conv(2 * width, 4 * width, stride=2)
        # Your idea goes here: what else sees far at an eighth of the size?
        self.context = nn.Sequential(
            conv(4 * width, 4 * width, dilation=2), conv(4 * width, 2 * width, dilation=4)
        )
        self.fuse = conv(2 * width, 2 * width)
        self.head = nn.Conv2d(2 * width, num_classes, 1)
        self.aux_head = nn.Conv2d(2 * width, num_classes, 1)

    def forward(self, images):
        """Images (B, C, H, W) -> SegOutput."""
        c4 = self.down4(self.stem(images))  # (B, 2W, H/4, W/4)
        context = self.context(self.down8(c4))  # (B, 2W, H/8, W/8)
        x = self.fuse(c4 + resize(context, c4.shape[-2:]))
        aux = {"context": self.aux_head(context)} if self.training else {}
        return SegOutput(resize(self.head(x), images.shape[-2:]), aux)


def resize(x, size):
    """Bilinear."""
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def build(*, num_classes, in_channels=3, width=32):
    """The network of the recipe; further arguments are its `model_options`."""
    return Net(num_classes, in_channels, width)
