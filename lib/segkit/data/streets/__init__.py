"""The embedded data set: synthetic streets, and the painter that draws their images and labels."""

from segkit.data.streets.dataset import PALETTE, SyntheticStreets
from segkit.data.streets.scene import draw_street

__all__ = ["PALETTE", "SyntheticStreets", "draw_street"]
