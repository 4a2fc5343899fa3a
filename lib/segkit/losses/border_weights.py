"""Weights of pixels between objects that touch, so that their thin borders are learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def border_weights(instances: Tensor, *, strength: float = 10.0, sigma: float = 5.0) -> Tensor:
    """U-Net's border term: the nearer a pixel's two nearest objects, the more it counts.

    ``strength * exp(-(d1 + d2)^2 / (2 sigma^2))`` with the distances d1 and d2 to the nearest and
    the second nearest object. The paper adds it to class weights. Pixels of an object have a d1 of
    0; multiply by the background where only that shall count more.

    Args:
        instances: integers, shape (H, W): 0 for background, n for the n-th object.
        strength: of a pixel between two objects that touch, 0 or more.
        sigma: in pixels, more than 0; at a gap of two sigma e^-2 of the strength is left.

    Returns:
        float32 (H, W), 0 where no two objects are within four sigma.

    Raises:
        ValueError: instances that are not (H, W) integers of 0 or more, a strength or a sigma out
            of its range.

    Example:
        >>> border_weights(torch.tensor([[1, 0, 2]]), sigma=1)
        tensor([[1.3534, 1.3534, 1.3534]])

    Source: Ronneberger et al., "U-Net", MICCAI 2015, equation 2: strength 10, sigma 5.
    """
    if not 0 <= strength < math.inf or not 0 < sigma < math.inf:
        raise ValueError(f"strength={strength}, sigma={sigma}: give 0 or more, and more than 0")
    if instances.ndim != 2 or instances.is_floating_point() or (instances < 0).any():
        raise ValueError(
            f"instances are {instances.dtype} of shape {tuple(instances.shape)}; needed are "
            "integers of shape (H, W): 0 for background, n for the n-th object"
        )
    far = math.ceil(4 * sigma)  # where d1 or d2 is more, nothing is left of the term
    nearest = torch.full((2, *instances.shape), math.inf, device=instances.device)
    for number in instances.unique():
        if number == 0:
            continue
        own = instances == number
        (top, left), (bottom, right) = (end.tolist() for end in own.nonzero().aminmax(dim=0))
        window = (  # the pixels within reach of this object
            slice(max(0, top - far), bottom + far + 1),
            slice(max(0, left - far), right + far + 1),
        )
        seen = nearest[:, *window]
        seen.copy_(torch.cat([seen, _distance(own[window], far)[None]]).sort(0).values[:2])
    return strength * torch.exp(-(nearest.sum(0) ** 2) / (2 * sigma**2))


def _distance(own: Tensor, far: int) -> Tensor:
    """From each pixel to the nearest of own, (H, W); inf where an axis has more than ``far``."""
    squared = torch.zeros(own.shape, device=own.device).masked_fill(~own, math.inf)
    for axis, padding in ((0, (0, 0, far, far)), (1, (far, far, 0, 0))):
        beside = functional.pad(squared, padding, value=math.inf).unfold(axis, 2 * far + 1, 1)
        steps = torch.arange(-far, far + 1, device=own.device) ** 2
        squared = (beside + steps).amin(-1)
    return squared.sqrt()
