"""A fully connected CRF over the pixels of one picture, as DeepLab v1 and v2 end in.

Paper: "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", Krähenbühl,
    Koltun, NIPS 2011, https://arxiv.org/abs/1210.5644; as the last step of a network: "Semantic
    Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs", Chen, Papandreou,
    Kokkinos, Murphy, Yuille, ICLR 2015, https://arxiv.org/abs/1412.7062

Idea:
    Every pixel asks every other one for its label. It listens to pixels that are near and of alike
    colour (appearance), and to its very neighbours (smoothness). Ten rounds settle it. With
    Gaussian weights a round is a filter of the probabilities, and costs time linear in the pixels.

    Q = probs
    repeat: message = appearance weight * filter_5d(Q) + smoothness weight * filter_2d(Q)
            Q = softmax(log probs - compatibility applied to message)

Differs from the paper:
    - A pixel's message to itself is not subtracted, as in the authors' code: in a kernel that sums
      over hundreds of pixels it is one of them. The paper sums over the others only.
    - The kernels are normalised, as in the authors' code; the paper leaves them as they are.
      ``"pixel"`` is their code of 2011, with which DeepLab's values were found; ``"symmetric"`` the
      default of their code of 2013.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segkit.crf.kernels import (
    METHODS,
    NORMALISATIONS,
    normalised_kernel,
    positions,
    positions_and_colours,
)
from segkit.inputs import check_tensor

_WEIGHTS = 0.0, 1e6
_WIDTHS = 0.01, 1e6


@torch.no_grad()
def refine(
    image: Tensor,
    probs: Tensor,
    *,
    iterations: int = 10,
    appearance_weight: float = 4.0,
    appearance_position: float = 49.0,
    appearance_colour: float = 5.0,
    smoothness_weight: float = 3.0,
    smoothness_position: float = 3.0,
    compatibility: float | Tensor = 1.0,
    normalisation: str = "pixel",
    method: str = "fast",
    every_round: bool = False,
) -> Tensor:
    """Refine class probabilities by the fully connected CRF: mean-field inference.

    The defaults are DeepLab's for pictures of about 500 x 375 pixels. Positions are in pixels:
    scale them with the picture.

    Args:
        image: the picture, uint8 (3, H, W).
        probs: probabilities of the classes, (K, H, W), any floating type, on the image's device;
            each pixel's sum to 1. From logits (K, H, W): ``logits.softmax(0)``.
        iterations: rounds of mean field; 0 returns the probabilities.
        appearance_weight: how much near pixels of alike colour count; 0 leaves the kernel out.
        appearance_position: width of that kernel's Gaussian in pixels.
        appearance_colour: its width in levels of 0..255 of each of R, G and B.
        smoothness_weight: how much near pixels count; 0 leaves the kernel out.
        smoothness_position: width of that kernel's Gaussian in pixels.
        compatibility: cost of two different labels (Potts), or the costs of all pairs of labels,
            symmetric (K, K); multiplies both weights.
        normalisation: ``"pixel"`` (a message is the weighted average of the pixels) or
            ``"symmetric"`` (see `segkit.crf.kernels.normalised_kernel`).
        method: ``"fast"`` filters on a permutohedral lattice; ``"exact"`` sums over all pairs of
            pixels, for small pictures: at 128 x 160 pixels it already takes minutes. A round of
            the two differs by about 0.002 in a probability. Over ten rounds their labels agree for
            99 % of a picture's pixels, unless the probabilities leave two classes tied over a whole
            region: then any difference decides which one wins it, the more so without smoothness.
        every_round: give what each round comes to, ``probs`` first.

    Returns:
        Probabilities, float32 (K, H, W), contiguous, without a gradient; (iterations + 1, K, H, W)
        of every round.

    Raises:
        ValueError: a shape, type or device is wrong, ``probs`` are no probabilities, an option is
            out of range, or the picture has more cells of these widths than the lattice can number;
            widths from 1 up fit pictures of up to 1024 x 2048 pixels.

    Source: 10 rounds, smoothness 3 at 3 pixels: Chen et al. (section 5.1). Appearance 4 at 49
        pixels and 5 levels: the script ``run_densecrf.sh`` of their release for DeepLab-LargeFOV;
        the values of the paper's other models were searched for likewise, per model.

    Example:
        >>> image = torch.zeros(3, 8, 8, dtype=torch.uint8)
        >>> refine(image, torch.full((2, 8, 8), 0.5)).shape
        torch.Size([2, 8, 8])
    """
    _check_tensors(image, probs)
    classes, height, width = probs.shape
    if iterations < 0:
        raise ValueError(f"iterations={iterations}: give 0 or more")
    for name, value, allowed in (
        ("method", method, METHODS),
        ("normalisation", normalisation, NORMALISATIONS),
    ):
        if value not in allowed:
            raise ValueError(f"{name}={value!r}: choose one of {', '.join(map(repr, allowed))}")
    for name, number, (low, high) in (
        ("appearance_weight", appearance_weight, _WEIGHTS),
        ("appearance_position", appearance_position, _WIDTHS),
        ("appearance_colour", appearance_colour, _WIDTHS),
        ("smoothness_weight", smoothness_weight, _WEIGHTS),
        ("smoothness_position", smoothness_position, _WIDTHS),
    ):
        if not low <= number <= high:
            raise ValueError(
                f"{name}={number}: give a number in {low:g}..{high:g}; usual is 1..100"
            )
    costs = _compatibility(compatibility, classes).to(probs.device)

    kernels = []
    for weight, features in (
        (appearance_weight, positions_and_colours(image, appearance_position, appearance_colour)),
        (smoothness_weight, positions(image, smoothness_position)),
    ):
        if weight and iterations:
            kernel = normalised_kernel(features, method=method, normalisation=normalisation)
            kernels.append((weight, kernel))

    # Below the smallest normal number a logarithm would be -inf; -87 rules a class out as well.
    tiny = torch.finfo(torch.float32).tiny
    unary = probs.float().flatten(1).T.contiguous().clamp_min(tiny).log_()  # (N, K)
    marginals = unary.softmax(1)
    rounds = [marginals]
    for _ in range(iterations):
        energy = unary.clone()
        for weight, kernel in kernels:
            message = kernel(marginals)
            if costs.ndim == 0:
                # Potts: the cost of all other labels, less a constant that softmax cancels.
                energy.add_(message, alpha=weight * costs.item())
            else:
                energy.addmm_(message, costs, alpha=-weight)
        marginals = energy.softmax(1)
        if every_round:
            rounds.append(marginals)
    if every_round:
        return torch.stack(rounds).mT.reshape(-1, classes, height, width).contiguous()
    return marginals.T.reshape(classes, height, width).contiguous()


def _check_tensors(image: Tensor, probs: Tensor) -> None:
    check_tensor("image", image, "one RGB picture, uint8 (3, H, W)")
    check_tensor("probs", probs, "probabilities (K, H, W)")
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
        raise ValueError(
            f"image is {image.dtype} of shape {tuple(image.shape)}; needed is one RGB picture, "
            "uint8 (3, H, W), before any normalisation"
        )
    if probs.ndim != 3 or not probs.is_floating_point() or probs.shape[0] < 2:
        raise ValueError(
            f"probs are {probs.dtype} of shape {tuple(probs.shape)}; needed are the probabilities "
            "of K >= 2 classes for one picture, floating point (K, H, W)"
        )
    if probs.shape[1:] != image.shape[1:]:
        raise ValueError(
            f"probs are of {tuple(probs.shape[1:])} pixels, the image of {tuple(image.shape[1:])}; "
            "resize the logits to the image before the softmax"
        )
    if probs[0].numel() == 0:
        raise ValueError(f"the image has no pixels: its shape is {tuple(image.shape)}")
    if probs.device != image.device:
        raise ValueError(f"probs are on {probs.device}, the image on {image.device}: move one")
    if not probs.isfinite().all():
        raise ValueError("probs hold NaN or infinity; look for them in the network's logits")
    low, high = (bound.item() for bound in probs.aminmax())
    # Of bfloat16 the sum of many classes is off by a percent.
    off = (probs.sum(0, dtype=torch.float32) - 1).abs().max().item()
    if low < 0 or high > 1.01 or off > 0.02:
        raise ValueError(
            f"probs lie in {low:.3g}..{high:.3g}, and a pixel's sum is off 1 by {off:.3g}: they "
            "are no probabilities over the first axis; of logits take logits.softmax(0)"
        )


def _compatibility(compatibility: float | Tensor, classes: int) -> Tensor:
    costs = torch.as_tensor(compatibility, dtype=torch.float32)
    if costs.ndim != 0 and costs.shape != (classes, classes):
        raise ValueError(
            f"compatibility has shape {tuple(costs.shape)}; give one number, or the costs of all "
            f"pairs of the {classes} classes: ({classes}, {classes})"
        )
    if not costs.abs().max() <= _WEIGHTS[1]:  # NaN is not
        raise ValueError(f"compatibility is {compatibility}: give costs of at most {_WEIGHTS[1]:g}")
    if costs.ndim == 2 and not costs.equal(costs.T):
        raise ValueError(
            "compatibility is not symmetric: a pair of pixels has one cost, whichever comes first"
        )
    return costs
