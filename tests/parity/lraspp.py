"""LR-ASPP against torchvision."""

from segbook.certificates.parity import Pair
from segkit.models.lraspp import lraspp_mobilenet_v3_large


def torchvision_lraspp():
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    return lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5)


PAIRS = [
    Pair(
        name="lraspp_mobilenet_v3_large",
        package="torchvision",
        reference="torchvision.lraspp_mobilenet_v3_large",
        ours=lambda: lraspp_mobilenet_v3_large(num_classes=5),
        theirs=torchvision_lraspp,
        keys=[
            (r"^backbone\.features\.", "backbone."),
            (r"^project\.conv\.", "classifier.cbr.0."),
            (r"^project\.bn\.", "classifier.cbr.1."),
            (r"^gate\.", "classifier.scale."),
            (r"^score_c3\.", "classifier.low_classifier."),
            (r"^score_c5\.", "classifier.high_classifier."),
        ],
        stages={
            "c3": ("backbone.features.4", "backbone.4"),
            "c5": ("backbone.features.16", "backbone.16"),
            "gate": ("gate", "classifier.scale"),
            "scores": ("score_c5", "classifier.high_classifier"),
        },
        run_theirs=lambda model, images: model(images)["out"],
    )
]
