"""The painter of the synthetic streets: perspective scenes, image and labels together."""

from segkit.data.painting.scene import draw_street

__all__ = ["draw_street"]
