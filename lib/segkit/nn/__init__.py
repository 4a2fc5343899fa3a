"""Blocks that two or more papers use: leaf modules, and what every network does at its start."""

from segkit.nn.aspp import ASPP, atrous_rates
from segkit.nn.classes import check_num_classes
from segkit.nn.conv import ConvBN, ConvBNReLU
from segkit.nn.double_conv import DoubleConv, UpBlock, init_up_convs
from segkit.nn.fcn_head import FCNHead
from segkit.nn.init import init_decoder, init_kaiming
from segkit.nn.norms import BATCH_NORMS
from segkit.nn.pixel_attention import pixel_attention
from segkit.nn.pyramid_pooling import PyramidPooling
from segkit.nn.resize import ResizeLogits, resize
from segkit.nn.separable import SeparableConvBNReLU

__all__ = [
    "ASPP",
    "BATCH_NORMS",
    "ConvBN",
    "ConvBNReLU",
    "DoubleConv",
    "FCNHead",
    "PyramidPooling",
    "ResizeLogits",
    "SeparableConvBNReLU",
    "UpBlock",
    "atrous_rates",
    "check_num_classes",
    "init_decoder",
    "init_kaiming",
    "init_up_convs",
    "pixel_attention",
    "resize",
]
