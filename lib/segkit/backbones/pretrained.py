"""ImageNet weights from torchvision, for images of any number of channels."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum

Network = TypeVar("Network", bound=nn.Module)


def with_torchvision_weights(
    network: Network,
    weights: WeightsEnum | str | None,
    kind: type[WeightsEnum],
    *,
    in_channels: int = 3,
) -> Network:
    """Set the first convolution's channels and load torchvision's weights, downloaded on first use.

    Without weights a first convolution of other channels is drawn anew, from He's distribution
    (fan_out), as torchvision draws it; nothing is downloaded. With weights its kernels are adapted,
    see `adapt_channels`.

    Args:
        network: a torchvision network, or one with the same names; what the weights hold beyond
            it, such as a classifier, is left out. Changed in place.
        weights: a member of `kind` or its name, "IMAGENET1K_V1"; None draws them at random.
        kind: the weights that fit, such as ``torchvision.models.ResNet50_Weights``.
        in_channels: channels of the images.

    Returns:
        The same network.

    Raises:
        ValueError: there are no weights of this name (the message lists those that there are), or
            the file lacks a tensor.
        TypeError: the weights belong to another network.
        ConnectionError: the download failed.
        RuntimeError: the file that arrived has another checksum than its name says.
    """
    weights = verify_weights(weights, kind)
    conv: Any  # whose sizes are pairs, which its type does not say
    name, conv = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    if conv.in_channels != in_channels:
        parent, _, child = name.rpartition(".")
        conv = nn.Conv2d(
            in_channels,
            conv.out_channels,
            conv.kernel_size,
            stride=conv.stride,
            padding=conv.padding,
            bias=conv.bias is not None,
        )
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
        setattr(network.get_submodule(parent), child, conv)
    if weights is None:
        return network
    try:
        state = weights.get_state_dict(check_hash=True, weights_only=True)
    except OSError as error:
        raise ConnectionError(
            f"downloading {weights} failed: {error}. Fetch {weights.url} in another way and put it "
            f"into {torch.hub.get_dir()}/checkpoints, or pass weights=None"
        ) from error
    state[f"{name}.weight"] = adapt_channels(state[f"{name}.weight"], in_channels)
    # Not strict, since the classifier is left out; torchvision renames ViT's older keys on the way.
    if missing := network.load_state_dict(state, strict=False).missing_keys:
        raise ValueError(f"{weights} lack {', '.join(missing[:3])}: they are another network's")
    return network


def verify_weights(
    weights: WeightsEnum | str | None, kind: type[WeightsEnum]
) -> WeightsEnum | None:
    """Give the weights of a name; arguments and errors of `with_torchvision_weights`."""
    try:
        return kind.verify(weights)
    except KeyError:
        raise ValueError(
            f"{kind.__name__} has no weights named {weights!r}; there are "
            f"{', '.join(kind.__members__)}. None draws them at random"
        ) from None


def adapt_channels(weight: Tensor, in_channels: int) -> Tensor:
    """Make kernels for RGB images see images of another number of channels.

    One channel: the sum over RGB, so a grey image gives what it gives when repeated three times.
    Otherwise red, green and blue kernels take turns, scaled by 3 / C, so the sum of C channels is
    as large as that of three: RGB twice, as six channels, gives what RGB gives.

    Args:
        weight: shape (out, 3, h, w).
        in_channels: C, channels of the images.

    Returns:
        Shape (out, C, h, w); `weight` itself for three channels.
    """
    if in_channels == 3:
        return weight
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight[:, torch.arange(in_channels) % 3] * (3 / in_channels)
