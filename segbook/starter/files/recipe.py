"""How the network is trained. `segbook recipes show recipe.py` says what each field means."""

from segbook.recipes import Recipe


def recipe():
    """A training of the network on painted streets."""
    return Recipe(
        name="my_idea",
        model="net.py:build",  # paths count from this file's folder
        model_options={"width": 32},
        # Painted streets. Yours: data="folder", data_root="where/images/and/masks/are".
        data="synthetic",
        crop=(128, 160),
        batch_size=8,
        steps=300,
        optimizer="adamw",
        lr=2e-3,
        weight_decay=0.01,
        warmup=15,
        clip=1.0,
        evaluate_every=75,
    )
