"""Attention of every pixel to every pixel of a map."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def pixel_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """For each pixel the mean of all pixels' values, weighted by their likeness to it.

    The likeness of two pixels is the scalar product of query and key, divided by the square root of
    their channels; a softmax over the pixels makes it a weight.

    Args:
        query: shape (B, C, H, W), what each pixel asks.
        key: shape (B, C, h, w), what it is compared with.
        value: shape (B, D, h, w), what is averaged.

    Returns:
        Shape (B, D, H, W).

    Source: Wang et al., "Non-local Neural Networks", CVPR 2018, equations 1 to 5 (embedded
    Gaussian), https://arxiv.org/abs/1711.07971; the square root is that of Vaswani et al.,
    "Attention Is All You Need", NIPS 2017, https://arxiv.org/abs/1706.03762
    """
    rows, keys, values = (x.flatten(2).transpose(1, 2).unsqueeze(1) for x in (query, key, value))
    # One head of attention, (B, 1, pixels, channels); the fused kernel never holds the matrix of
    # all likenesses.
    mean = F.scaled_dot_product_attention(rows, keys, values)
    return mean.squeeze(1).transpose(1, 2).unflatten(2, query.shape[-2:])
