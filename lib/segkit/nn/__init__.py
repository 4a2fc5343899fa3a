"""Blocks that two or more papers use: leaf modules, and what every network does at its start."""

from segkit.nn.aspp import ASPP, atrous_rates
from segkit.nn.classes import check_num_classes
from segkit.nn.conv import ConvBN, ConvBNReLU
from segkit.nn.fcn_head import FCNHead
from segkit.nn.init import init_kaiming
from segkit.nn.pyramid_pooling import PyramidPooling
from segkit.nn.resize import resize, resize_logits
from segkit.nn.separable import SeparableConvBNReLU

__all__ = [
    "ASPP",
    "ConvBN",
    "ConvBNReLU",
    "FCNHead",
    "PyramidPooling",
    "SeparableConvBNReLU",
    "atrous_rates",
    "check_num_classes",
    "init_kaiming",
    "resize",
    "resize_logits",
]
