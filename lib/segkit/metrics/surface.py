"""Distances between the surfaces of two segmentations, in mm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor


def hd95(prediction: Tensor, truth: Tensor, spacing: Sequence[float]) -> float:
    """The Hausdorff distance's 95th percentile: how far two surfaces lie apart, nearly at most.

    Of each surface's voxels the distances to the other surface are taken, and of each the 95th
    percentile; the larger counts. A surface voxel is one of the region with a neighbour, by a face,
    that is not, or beyond the volume.

    Args:
        prediction: bool (D, H, W), one class.
        truth: bool (D, H, W).
        spacing: length of a voxel along each axis, in mm.

    Returns:
        mm; nan where neither has a voxel, infinite where one has none.

    Source: Menze et al., "BRATS", TMI 2015, section IV; computed as MONAI's
        ``compute_hausdorff_distance(percentile=95)``.
    """
    regions: list[Any] = [part.bool().cpu().numpy() for part in (prediction, truth)]
    if not any(region.any() for region in regions):
        return float("nan")
    if not all(region.any() for region in regions):
        return float("inf")
    try:
        from scipy import ndimage
    except ImportError:
        raise ValueError(
            "distances of surfaces take scipy: pip install 'segbook[volumes]'"
        ) from None
    # Far from both everything is far: the box around them gives the same distances.
    [box] = ndimage.find_objects((regions[0] | regions[1]).astype(np.uint8))
    regions = [region[box] for region in regions]
    surfaces: list[Any] = [
        region & np.logical_not(ndimage.binary_erosion(region)) for region in regions
    ]
    far: list[Any] = [
        ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in surfaces
    ]
    return max(
        float(np.percentile(distances[surface], 95))
        for distances, surface in zip(far, surfaces[::-1], strict=True)
    )
