from __future__ import annotations

import pytest
import torch
from torch import nn

from segkit.nn import BATCH_NORMS


@pytest.fixture(scope="session")
def lived_in():
    """Puts a network in eval mode, with normalisations that do something."""

    def change(network: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(1)
        for module in network.modules():
            if isinstance(module, BATCH_NORMS):
                with torch.no_grad():
                    module.running_mean.normal_(0, 0.3, generator=generator)
                    module.running_var.uniform_(0.5, 2.0, generator=generator)
                    module.weight.uniform_(0.5, 1.5, generator=generator)
                    module.bias.normal_(0, 0.3, generator=generator)
        return network.eval()

    return change
