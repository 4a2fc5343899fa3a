"""The head of dilated FCNs and the auxiliary head on c4."""

import torch
from torch import nn

from segkit.nn import FCNHead


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_a_quarter_of_the_channels_as_in_torchvision_and_mmsegmentation():
    with torch.device("meta"):
        # 3x3 from 1024 to 256, two values of normalisation each, 256 * 19 + 19.
        assert (
            parameters(FCNHead(1024, 19)) == 9 * 1024 * 256 + 2 * 256 + 256 * 19 + 19 == 2_364_691
        )
        assert parameters(FCNHead(2048, 21)) == 9_448_981
        assert parameters(FCNHead(4096, 19, channels=512)) == 18_885_139


@torch.no_grad()
def test_scores_by_hand():
    head = FCNHead(4, 2).eval()
    assert head[0].out_channels == 1
    head[0].weight.fill_(0.5)
    head[1].eps = 0.0
    head[1].bias.fill_(-10.0)
    head[4].weight.copy_(torch.tensor([1.0, -2.0]).reshape(2, 1, 1, 1))
    head[4].bias.copy_(torch.tensor([0.0, 3.0]))
    # Four channels of ones times a half: 2 a pixel, 9 pixels inside, 6 at an edge, 4 at a corner.
    hidden = torch.tensor([[0.0, 2, 0], [2, 8, 2], [0, 2, 0]])
    scores = head(torch.ones(1, 4, 3, 3))[0]
    assert torch.equal(scores[0], hidden)
    assert torch.equal(scores[1], 3 - 2 * hidden)


def test_dropout_is_the_one_asked_for_and_in_training_only():
    torch.manual_seed(0)
    head = FCNHead(8, 3, dropout=0.5)
    x = torch.randn(2, 8, 4, 4)
    assert [m.p for m in head if isinstance(m, nn.Dropout)] == [0.5]
    assert not torch.equal(head(x), head(x))
    assert torch.equal(head.eval()(x), head(x))
