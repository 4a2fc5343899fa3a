"""The fully connected CRF of DeepLab v1 and v2: labels that follow the edges of a picture."""

from segkit.crf.mean_field import refine

__all__ = ["refine"]
