"""The stages of a backbone that is one sequence of blocks, as all MobileNets are."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segkit.backbones.batch_of_one import require_two_values
from segkit.backbones.dilation import check_output_stride, replace_stride
from segkit.outputs import Stages


class SequenceBackbone(nn.Module):
    """Cut a sequence of blocks into a stem at stride 2 and four stages.

    Args:
        features: the blocks, which halve the size five times; their names in the state dict stay
            (`features.0` …).
        ends: where the stem, c2, c3, c4 and c5 end: the number of blocks up to there.
        channels: of the stem, c2, c3, c4 and c5.
        output_stride: the stride of c5: 32, or 16 or 8 with dilation.
        dilate_first: which convolutions of a dilated stage are dilated, see `replace_stride`.
        taps: where the stem, c2, c3, c4 and c5 are taken, when not at their ends.

    Attributes:
        channels: Stages of int.
        strides: Stages(4, 8, 16, 32), or 16 and 8 where dilated. Sizes are rounded up, so any H
            and W will do.
        stem_channels: channels of the stride-2 feature of `forward_with_stem`.

    Raises:
        ValueError: another output stride; in training, when the last stage would normalise a single
            value per channel.
    """

    def __init__(
        self,
        features: nn.Sequential,
        *,
        ends: tuple[int, int, int, int, int],
        channels: Sequence[int],
        output_stride: int = 32,
        dilate_first: bool = False,
        taps: tuple[int, int, int, int, int] | None = None,
    ) -> None:
        super().__init__()
        check_output_stride(output_stride)
        self.stem_channels = channels[0]
        self.channels = Stages(*channels[1:])
        self.strides = Stages(4, 8, min(16, output_stride), output_stride)
        self.taps = taps or ends
        self.last_stage = ends[3]
        self.features = features

        dilation = 1
        if output_stride == 8:
            stage = features[ends[2] : ends[3]]
            dilation = replace_stride(stage, dilate_first=dilate_first)
        if output_stride <= 16:
            stage = features[ends[3] : ends[4]]
            replace_stride(stage, before=dilation, dilate_first=dilate_first)

    def forward(self, images: Tensor) -> Stages[Tensor]:
        return self.forward_with_stem(images)[1]

    def forward_with_stem(self, images: Tensor) -> tuple[Tensor, Stages[Tensor]]:
        """Also give the feature at stride 2, which a U-Net's decoder can use.

        Args:
            images: shape (B, C, H, W).

        Returns:
            The stem, shape (B, stem_channels, H/2, W/2), and the stages that `forward` gives.
        """
        x, maps = images, []
        for number, block in enumerate(self.features, start=1):
            if number == self.last_stage + 1:
                stage, stride = self.features[self.last_stage :], self.strides.c5
                step = stride // self.strides.c4
                require_two_values("the last stage", stage, x, step=step, stride=stride)
            x = block(x)
            if number in self.taps:
                maps.append(x)
        stem, *stages = maps
        return stem, Stages(*stages)
