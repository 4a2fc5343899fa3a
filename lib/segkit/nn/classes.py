"""How many classes a network may have."""

from __future__ import annotations


def check_num_classes(num_classes: int) -> int:
    """Refuse a class count that no network here can be trained with.

    Args:
        num_classes: K, the channels of the logits.

    Returns:
        The same number, so that a constructor can check and use it in one line.

    Raises:
        ValueError: fewer than two classes, or no whole number.
    """
    if not isinstance(num_classes, int) or num_classes < 2:
        raise ValueError(
            f"num_classes is {num_classes!r}; a network here needs 2 or more. Binary segmentation "
            "is two classes, background (0) and foreground (1), with the same softmax, losses and "
            "metrics as any other: pass num_classes=2."
        )
    return num_classes
