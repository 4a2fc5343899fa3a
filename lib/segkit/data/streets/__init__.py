"""The embedded data set: synthetic streets, and the painter that draws their images and labels."""

from segkit.data.streets.dataset import SyntheticStreets
from segkit.data.streets.scene import draw_street

__all__ = ["SyntheticStreets", "draw_street"]
