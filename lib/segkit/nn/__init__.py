"""Blocks that two or more papers use: leaf modules, and what every network does at its start."""

from segkit.nn.classes import check_num_classes
from segkit.nn.conv import ConvBN, ConvBNReLU
from segkit.nn.init import init_kaiming
from segkit.nn.resize import resize, resize_logits

__all__ = [
    "ConvBN",
    "ConvBNReLU",
    "check_num_classes",
    "init_kaiming",
    "resize",
    "resize_logits",
]
