"""Widgets: things to move in a notebook, which leave a picture behind where nothing moves."""

from segbook.widgets.attention_pointer import AttentionPointer
from segbook.widgets.crf_slider import CrfSlider
from segbook.widgets.mask_explorer import MaskExplorer
from segbook.widgets.training_scrubber import TrainingScrubber
from segbook.widgets.wipe import Wipe

__all__ = ["AttentionPointer", "CrfSlider", "MaskExplorer", "TrainingScrubber", "Wipe"]
