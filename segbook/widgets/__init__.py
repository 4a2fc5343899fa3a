"""Widgets: things to move in a notebook, which leave a picture behind where nothing moves."""

from segbook.widgets.attention_pointer import AttentionPointer
from segbook.widgets.crf_slider import CrfSlider
from segbook.widgets.guess import Guess
from segbook.widgets.iou_painter import IoUPainter
from segbook.widgets.mask_explorer import MaskExplorer
from segbook.widgets.quiz import Quiz
from segbook.widgets.receptive_field import ReceptiveField
from segbook.widgets.stamper import Stamper
from segbook.widgets.stride_explorer import StrideExplorer
from segbook.widgets.training_scrubber import TrainingScrubber
from segbook.widgets.wipe import Wipe

__all__ = [
    "AttentionPointer",
    "CrfSlider",
    "Guess",
    "IoUPainter",
    "MaskExplorer",
    "Quiz",
    "ReceptiveField",
    "Stamper",
    "StrideExplorer",
    "TrainingScrubber",
    "Wipe",
]
