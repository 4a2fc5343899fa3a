"""`segbook bench`: speed, measured side by side in one run and told as ratios."""

from segbook.bench.clock import Ratio, compare
from segbook.bench.promises import main

__all__ = ["Ratio", "compare", "main"]
