import pytest
import torch
from torch import nn
from torch.export import Dim
from torch.nn import functional as F

from segkit.export.spelled_out import adaptive_avg_pool2d, spell_out


@pytest.mark.parametrize("grid", [(1, 1), (1, 3), (2, 2), (3, 3), (6, 6), (4, 5), (7, 9)])
@pytest.mark.parametrize("size", [(7, 9), (6, 12), (5, 4), (13, 31), (1, 1), (64, 2)])
def test_two_matrix_products_are_adaptive_pooling(grid, size):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = F.adaptive_avg_pool2d(x, grid)
    torch.testing.assert_close(adaptive_avg_pool2d(x, grid), expected, atol=1e-5, rtol=0)


def test_cells_overlap_as_torch_has_them():
    """Five pixels in three cells: 0-1, 1-3, 3-4."""
    x = torch.tensor([[[[1.0, 2, 4, 8, 16]]]])
    assert adaptive_avg_pool2d(x, (1, 3)).flatten().tolist() == pytest.approx([1.5, 14 / 3, 12])


@pytest.mark.slow
def test_one_program_pools_images_of_every_size():
    class Pool(nn.Module):
        def forward(self, x):
            return F.adaptive_avg_pool2d(x, 3), F.adaptive_avg_pool2d(x, (2, None))

    sides = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    program = torch.export.export(Pool(), (torch.randn(2, 2, 8, 9),), dynamic_shapes=(sides,))
    assert "adaptive" in program.graph_module.code
    program = spell_out(program)
    assert "adaptive" not in program.graph_module.code
    for shape in [(2, 2, 8, 9), (3, 2, 13, 7), (2, 2, 31, 5)]:
        x = torch.randn(shape)
        for found, expected in zip(program.module()(x), Pool()(x), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
