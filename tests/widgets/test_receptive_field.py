"""What a unit sees by numbers is what its gradient reaches where no weight is negative."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("anywidget", reason="the notebooks extra is not installed")

from segbook.widgets import ReceptiveField  # noqa: E402
from segbook.widgets.receptive_field import _layers, _maps, _placed, fields  # noqa: E402
from segkit.backbones.resnet import resnet18  # noqa: E402

IMAGE = np.zeros((60, 90, 3), np.uint8)


def conv(kernel, stride=1, dilation=1, padding=None, channels=2):
    padding = dilation * (kernel - 1) // 2 if padding is None else padding
    return nn.Conv2d(channels, 2, kernel, stride, padding, dilation)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.long = nn.Sequential(conv(3, 2), conv(5))
        self.short = conv(1, 2)

    def forward(self, x):
        return self.long(x) + self.short(x)


STACKS = {
    "plain": lambda: [conv(3, channels=3), conv(3), conv(3)],
    "strided": lambda: [conv(7, 2, channels=3), nn.MaxPool2d(3, 2, 1), conv(3, 2), conv(3)],
    "dilated": lambda: [conv(3, channels=3), conv(3, dilation=2), conv(3, dilation=4)],
    "even and unpadded": lambda: [conv(4, 3, padding=0, channels=3), nn.AvgPool2d(2), conv(2)],
    "two ways": lambda: [conv(3, channels=3), Residual(), Residual()],
}


@pytest.mark.parametrize("name", STACKS)
def test_by_numbers_is_where_the_gradient_is(name):
    layers = STACKS[name]()
    for layer in nn.ModuleList(layers).parameters():
        layer.data.abs_().add_(0.01)
    layers = [nn.AvgPool2d(m.kernel_size, m.stride, m.padding) if isinstance(m, nn.MaxPool2d)
              else m for m in layers]  # fmt: skip
    _, run, channels = _maps(layers, layers, 1)
    image = torch.ones(1, channels, 120, 120, dtype=torch.float32, requires_grad=True)
    maps = run(image)
    for view, each in zip(fields.views(run, channels, "cpu"), maps, strict=True):
        row, column = each.shape[-2] // 2, each.shape[-1] // 2 - 1
        (gradient,) = torch.autograd.grad(each[0, :, row, column].sum(), image, retain_graph=True)
        reached = gradient[0].sum(0).nonzero()
        spans = [
            (index * view.stride + first, index * view.stride + last)
            for index, (first, last) in ((row, view.rows), (column, view.columns))
        ]
        assert [tuple(span) for span in zip(*reached.aminmax(dim=0), strict=True)] == spans


def test_a_backbone_s_sizes_are_those_of_the_literature():
    torch.manual_seed(0)
    _, run, channels = _maps(resnet18(), None, 1)
    sizes = [view.size for view in fields.views(run, channels, "cpu")]
    # As worked out by hand: 7x7/2, pooling 3x3/2, then two blocks of two 3x3 a stage.
    assert sizes == [(43, 43), (99, 99), (211, 211), (435, 435)]


def test_dilation_widens_and_the_network_stays():
    layers = [conv(3, channels=3), nn.ReLU(), conv(3)]
    before = [layers[0].dilation, layers[0].padding]
    field = ReceptiveField(layers, IMAGE, dilations=(1, 3), images=1)
    assert repr(field) == "ReceptiveField(60x90 pixels, layer 1: 3x3, layer 2: 5x5)"
    assert [entry["height"] for entry in field.fields] == [3, 5, 7, 13]
    assert [layers[0].dilation, layers[0].padding] == before
    field.dilation = 3
    assert field.snapshot()[:4] == b"\x89PNG"
    for entry in field.fields:
        cells = np.frombuffer(zlib.decompress(entry["stamp"]), np.uint8)
        assert cells.size == entry["rows"] * entry["columns"]
        assert cells.max() == 255
        # The heat lies where the box does.
        assert (entry["heat_top"], entry["heat_left"]) == (entry["top"], entry["left"])
    # A dilated convolution reads nine places, with holes between them.
    assert (np.frombuffer(zlib.decompress(field.fields[2]["stamp"]), np.uint8) > 0).sum() == 9


def test_the_same_twice_and_small():
    layers = [conv(3, channels=3)]
    state = torch.get_rng_state()
    one, two = (ReceptiveField(layers, IMAGE, seed=1) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert one.fields == two.fields
    heat = np.random.default_rng(0).random((435, 435))
    cells, cell = fields.stamp(heat)
    assert max(cells.shape) <= fields.LONGEST
    assert cell * cells.shape[0] >= 435


def test_the_inner_share_of_an_even_field_is_a_quarter():
    assert fields.inner_share(np.ones((8, 8)), (0, 0, 8, 8)) == 0.25
    assert np.isnan(fields.inner_share(np.zeros((8, 8)), (0, 0, 8, 8)))


def test_the_script_finds_the_same_unit(computed):
    layers = STACKS["strided"]()
    field = ReceptiveField(layers, IMAGE, images=1)
    entry = {key: value for key, value in field.fields[-1].items() if key != "stamp"}
    points = [[0, 0], [44, 29], [89, 59], [45, 30]]
    found = computed(
        ReceptiveField,
        f"{points}.map((point) => placeUnit({json.dumps(entry)}, point))",
    )
    assert found == [list(_placed(field.fields[-1], point)) for point in points]


@pytest.mark.parametrize(
    ("layers", "options", "said"),
    [
        ([], {}, "there are no layers"),
        ([nn.ReLU()], {}, "no layer has a kernel"),
        ([nn.ConvTranspose2d(3, 3, 2, 2), nn.Conv2d(3, 3, 1)], {}, "transposed convolution"),
        ([nn.Conv2d(3, 3, 1)], {"dilations": (0,)}, "dilations are"),
        ([nn.Conv2d(3, 3, 1)], {"depth": 3}, "depth is 3"),
    ],
)
def test_what_has_no_field_is_refused(layers, options, said):
    with pytest.raises(ValueError, match=said):
        ReceptiveField(layers, IMAGE, **options)


def test_layers_in_a_row_or_a_backbone():
    assert _layers(resnet18()) is None
    assert len(_layers(nn.Sequential(conv(3), conv(3))) or ()) == 2
