"""A camera, and a canvas that keeps colours and labels together.

A street has coordinates in metres: x to the right of the road's centre line, y up from the ground,
z ahead of the camera. The camera is held level (tilting and turning only shift the picture), so
every vertical stays vertical and a wall is a trapezoid whose depth is known in each pixel column.

Every decision that reaches a label is made with + - * / and comparisons in float64, which IEEE 754
rounds alike everywhere: the same scene has the same labels on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from typing import NamedTuple

import numpy as np

from segkit.data.streets.dice import Colour, grain_tile, noise_tile

Point = tuple[float, float]

NEAR = 0.8  # metres; nothing nearer is drawn, so that no division meets zero


class Camera:
    """A level pinhole camera over a flat street that may bend.

    The frame's unit is the width of a 5:4 scene that covers it: two sizes of one shape show the
    same scene, a size of another shape a crop of it.

    Args:
        size: (H, W) in pixels.
        focal: focal length in units.
        height: of the camera, metres.
        offset: of the camera to the right of the centre line, metres.
        shift: of the vanishing point to the right of the frame's middle, units.
        horizon: of the horizon below the frame's middle, units; negative is above.
        bend: how fast the road bears right, 1/metres: z metres ahead it has moved by bend * z**2.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        focal: float,
        height: float,
        offset: float,
        shift: float = 0.0,
        horizon: float = 0.0,
        bend: float = 0.0,
    ) -> None:
        self.size = size
        self.unit = max(size[1], size[0] * 1.25)
        self.focal = focal * self.unit
        self.col = size[1] / 2 + shift * self.unit
        self.row = size[0] / 2 + horizon * self.unit
        self.height, self.offset, self.bend = height, offset, bend

    def project(self, x: float, y: float, z: float) -> Point:
        """Pixel (column, row) of a point of the street, in metres; the first pixel covers 0..1."""
        z = z if z > NEAR else NEAR
        scale = self.focal / z
        return (
            self.col + scale * (x - self.offset + self.bend * z * z),
            self.row - scale * (y - self.height),
        )


class Patch(NamedTuple):
    """The visible part of a wall: a window of the canvas, and where on the wall each pixel lies."""

    window: tuple[slice, slice]  # the rows and columns of the canvas, h of them and w
    mask: np.ndarray  # (h, w) bool, the pixels that the wall covers
    near: np.ndarray  # (w,) one over the distance, 1/metres
    along: np.ndarray  # (w,) metres from the wall's first end
    up: np.ndarray  # (h, w) metres above the ground


def _span(low: float, high: float, limit: int) -> tuple[int, int]:
    """The pixels whose centres lie in [low, high), cut to 0..limit."""
    first, last = ceil(low - 0.5), ceil(high - 0.5)
    return first if first > 0 else 0, last if last < limit else limit


class Canvas:
    """An image and its labels, painted together from far to near.

    Args:
        camera: the eye; its size is the canvas'.
        haze: the colour into which things fade with distance.
        clear: the distance in metres at which half of a thing's colour is haze.

    Attributes:
        image: (H, W, 3) float32, 0..1.
        labels: (H, W) uint8.
    """

    def __init__(self, camera: Camera, *, haze: Colour, clear: float) -> None:
        self.camera, self._haze, self._clear = camera, haze, clear
        self.image = np.zeros((*camera.size, 3), np.float32)
        self.labels = np.zeros(camera.size, np.uint8)

    def faded(self, colour: Colour, z: float, gain: float = 1.0) -> tuple[float, float, float]:
        """The colour, lightened by ``gain``, as it looks through the haze from z metres away."""
        share = z / (z + self._clear)
        gain *= 1 - share
        (red, green, blue), (r, g, b) = colour, self._haze
        return gain * red + share * r, gain * green + share * g, gain * blue + share * b

    def fill(
        self, window: tuple[slice, slice], mask: np.ndarray, label: int, colour: Colour | np.ndarray
    ) -> None:
        """Paint the masked pixels of a window with a colour, or an (h, w, 3) array of them."""
        np.copyto(self.image[window], np.asarray(colour, np.float32), where=mask[..., None])
        np.copyto(self.labels[window], np.uint8(label), where=mask)

    def fill_wall(
        self, patch: Patch, label: int, colour: np.ndarray, see: np.ndarray | None = None
    ) -> None:
        """Paint a wall with an (h, w, 3) array of colours.

        ``see``, (h, w) bool, tells where it is opaque. The label covers the whole wall: a fence
        counts as a fence between its bars too, as annotators draw it.
        """
        share = (1 / (1 + self._clear * patch.near)).astype(np.float32)[:, None]
        colour = colour * (1 - share)
        colour += share * np.asarray(self._haze, np.float32)
        mask = patch.mask if see is None else patch.mask & see
        np.copyto(self.image[patch.window], colour, where=mask[..., None])
        np.copyto(self.labels[patch.window], np.uint8(label), where=patch.mask)

    def box(
        self, left: float, top: float, right: float, bottom: float, label: int, colour: Colour
    ) -> None:
        """Paint an upright rectangle; always one pixel wide or more."""
        c0, c1 = _span(left, right, self.labels.shape[1])
        if c0 >= c1 and 0 <= left < self.labels.shape[1]:
            c0, c1 = int(left), int(left) + 1
        r0, r1 = _span(top, bottom, self.labels.shape[0])
        if r0 < r1 and c0 < c1:
            self.image[r0:r1, c0:c1] = colour
            self.labels[r0:r1, c0:c1] = label

    def polygon(self, points: Sequence[Point], label: int, colour: Colour) -> None:
        """Paint a convex polygon: in each row, all between the two edges that cross it."""
        height, width = self.labels.shape
        ends = [y for _, y in points]
        r0, r1 = _span(min(ends), max(ends), height)
        if r0 >= r1 or min(points)[0] >= width or max(points)[0] < 0:
            return
        left, right = [1e9] * (r1 - r0), [-1e9] * (r1 - r0)
        xa, ya = points[-1]
        for xb, yb in points:
            first, last = _span(ya, yb, height) if ya < yb else _span(yb, ya, height)
            if first < last:
                slope = (xb - xa) / (yb - ya)
                for r in range(first, last):
                    x = xa + (r + 0.5 - ya) * slope
                    r -= r0
                    left[r] = x if x < left[r] else left[r]
                    right[r] = x if x > right[r] else right[r]
            xa, ya = xb, yb
        paint = np.asarray(colour, np.float32)
        image, labels = self.image, self.labels
        for r, (low, high) in enumerate(zip(left, right, strict=True), r0):
            c0, c1 = max(ceil(low - 0.5), 0), ceil(high - 0.5)  # slicing cuts at the right
            if c0 < c1:
                image[r, c0:c1] = paint
                labels[r, c0:c1] = label

    def _ellipse(
        self, centre: Point, rx: float, ry: float
    ) -> tuple[tuple[slice, slice], np.ndarray] | None:
        """The window of an ellipse and, in it, the squared distance from the centre in radii."""
        r0, r1 = _span(centre[1] - ry, centre[1] + ry, self.labels.shape[0])
        c0, c1 = _span(centre[0] - rx, centre[0] + rx, self.labels.shape[1])
        if r0 >= r1 or c0 >= c1:
            return None
        dx = (np.arange(c0, c1) + 0.5 - centre[0]) / rx
        dy = (np.arange(r0, r1) + 0.5 - centre[1]) / ry
        return (slice(r0, r1), slice(c0, c1)), (dx * dx) + (dy * dy)[:, None]

    def ellipse(
        self, centre: Point, rx: float, ry: float, label: int, colour: Colour, *, hole: float = 0.0
    ) -> None:
        """Paint an ellipse, or a ring whose hole has this share of the radii."""
        found = self._ellipse(centre, rx, ry)
        if found:
            window, distance = found
            mask = distance < 1
            self.fill(window, mask & (distance >= hole * hole) if hole else mask, label, colour)

    def shadow(self, centre: Point, rx: float, ry: float, strength: float) -> None:
        """Darken an ellipse towards its middle; no label changes."""
        found = self._ellipse(centre, rx, ry)
        if found:
            window, distance = found
            dark = 1 - strength * np.clip(1.6 - 1.6 * distance, 0, 1)
            self.image[window] *= dark[..., None].astype(np.float32)

    def foliage(
        self,
        blobs: Sequence[tuple[float, float, float, float]],
        label: int,
        colour: Colour,
        start: int,
        ragged: float,
    ) -> None:
        """Paint a crown of leaves, its edge ragged, lit from above.

        Args:
            blobs: ellipses (column, row, rx, ry), one or more; the first sets the leaves' scale.
            label: the class.
            colour: of the leaves, 0..1.
            start: which part of the noise is used.
            ragged: how far the noise moves the edge, in radii.
        """
        grow = 1 + ragged / 2
        left, right = min(b[0] - b[2] * grow for b in blobs), max(b[0] + b[2] * grow for b in blobs)
        top, bottom = min(b[1] - b[3] * grow for b in blobs), max(b[1] + b[3] * grow for b in blobs)
        r0, r1 = _span(top, bottom, self.labels.shape[0])
        c0, c1 = _span(left, right, self.labels.shape[1])
        if r0 >= r1 or c0 >= c1:
            return
        cols, rows = np.arange(c0, c1) + 0.5, np.arange(r0, r1) + 0.5
        leaf = 75 / blobs[0][2]  # a crown of any size shows the same leaves
        i = ((rows - top) * leaf).astype(np.int64) + start
        j = ((cols - left) * leaf).astype(np.int64) + start * 3
        noise = noise_tile(6)[(i & 255)[:, None], j & 255]
        distance = np.inf
        for x, y, rx, ry in blobs:
            dx, dy = (cols - x) / rx, (rows - y) / ry
            distance = np.minimum(distance, (dx * dx) + (dy * dy)[:, None])
        mask = distance + (noise - 0.5) * (2 * ragged) < 1
        speckle = grain_tile()[(i & 255)[:, None], j & 255, 0]
        from_above = (1.2 - 0.5 * (rows - top) / (bottom - top)).astype(np.float32)
        light = (0.4 + 0.85 * noise + 0.13 * speckle) * from_above[:, None]
        shade = light[..., None] * np.asarray(colour, np.float32)
        self.fill((slice(r0, r1), slice(c0, c1)), mask, label, shade)

    def wall(self, start: Point, end: Point, bottom: float, top: float) -> Patch | None:
        """Where an upright wall is seen.

        Args:
            start: the end that is on the left when seen from the front, (x, z) in metres.
            end: the other end.
            bottom: of the wall, metres above the ground.
            top: of the wall, metres above the ground.

        Returns:
            The patch, or None where nothing of it is in the frame or its back is turned.
        """
        eye = self.camera
        first, last = eye.project(start[0], 0, start[1])[0], eye.project(end[0], 0, end[1])[0]
        c0, c1 = _span(first, last, self.labels.shape[1])
        if c0 >= c1:
            return None
        near0, near1 = 1 / max(start[1], NEAR), 1 / max(end[1], NEAR)
        t = (np.arange(c0, c1) + 0.5 - first) / (last - first)
        near = near0 + (near1 - near0) * t  # 1 / depth is linear across the picture
        scale = eye.focal * near
        upper, lower = eye.row - scale * (top - eye.height), eye.row - scale * (bottom - eye.height)
        r0, r1 = _span(upper.min(), lower.max(), self.labels.shape[0])
        if r0 >= r1:
            return None
        rows = (np.arange(r0, r1) + 0.5)[:, None]
        length = sqrt((end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2)
        return Patch(
            (slice(r0, r1), slice(c0, c1)),
            (rows >= upper) & (rows < lower),
            near,
            t * near1 / near * length,
            eye.height - (rows - eye.row) / scale,
        )
