"""The fully connected CRF of DeepLab v1 and v2: probabilities made to follow the picture's edges."""

from segkit.crf.mean_field import refine

__all__ = ["refine"]
