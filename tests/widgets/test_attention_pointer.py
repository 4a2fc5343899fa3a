"""The attention pointer: its three kinds, what is sent of them, and its script's look-ups."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("anywidget", reason="the notebooks extra is not installed")

from segbook.widgets import AttentionPointer  # noqa: E402
from segbook.widgets.attention_pointer import _fewer  # noqa: E402

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
GRID = (4, 6)


def weights(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).mul(5).softmax(-1)


def test_weights_survive_eight_bits():
    attention = weights(2, 24, 24)
    one = AttentionPointer(IMAGE, attention, grid=GRID)
    assert repr(one) == "AttentionPointer(24x36 pixels, 4x6 queries, 4x6 keys, 2 heads)"
    for head, expected in ((0, attention[0]), (1, attention[1]), (-1, attention.mean(0))):
        one.head = head
        found = one.asked((35, 23)).ravel()  # the last pixel is in the last cell
        np.testing.assert_allclose(found, expected[23], atol=float(attention.max()) / 500)
    assert AttentionPointer(IMAGE, attention[None].bfloat16(), grid=GRID).heads == 2


def test_a_function_is_asked_for_each_query():
    attention = weights(24, 24)
    asked = AttentionPointer(IMAGE, lambda y, x: attention[6 * y + x].view(4, 6), grid=GRID)
    given = AttentionPointer(IMAGE, attention.tolist(), grid=GRID)
    assert asked.weights == given.weights
    assert asked.scales == given.scales


def test_keys_of_another_grid():
    one = AttentionPointer(IMAGE, weights(24, 6), grid=GRID, keys=(2, 3))
    assert one.asked((0, 0)).shape == (2, 3)
    assert one.snapshot() == one.snapshot()


@pytest.mark.parametrize("most", [24 * 24, 300, 100, 30, 1])
def test_fewer_bytes_keep_the_sum(most):
    attention = np.asarray(weights(24, 24))
    found, grid, keys = _fewer(attention, GRID, None, most)
    assert found.size <= max(most, 1)
    assert found.shape == (1, grid[0] * grid[1], keys[0] * keys[1])
    np.testing.assert_allclose(found.sum(2), 1, rtol=1e-5)


def test_regions_in_both_layouts():
    maps, over = torch.rand(3, 4, 6), weights(24, 3)
    one = AttentionPointer(IMAGE, over, regions=maps, grid=GRID, names=("a", "b", "c"))
    other = AttentionPointer(IMAGE, over.T.reshape(3, 4, 6), regions=maps[None])
    assert one.weights == other.weights
    assert repr(other) == "AttentionPointer(24x36 pixels, 4x6 queries, 3 regions)"
    np.testing.assert_allclose(one.asked((0, 0)), over[0], atol=0.004)
    one.shown = 2
    with pytest.raises(ValueError, match=r"no shown 3; allowed are -1\.\.2"):
        one.shown = 3
    assert one.snapshot() != AttentionPointer(IMAGE, over, regions=maps * 0, grid=GRID).snapshot()


def test_maps_of_any_sizes():
    alpha = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
    one = AttentionPointer(IMAGE, maps=[alpha, torch.rand(1, 1, 8, 12)], names=("α", "β"))
    assert (one.shown, len(one.maps)) == (0, 2)
    sent = np.frombuffer(zlib.decompress(one.maps[0]["values"]), "<u2").reshape(4, 6)
    np.testing.assert_allclose(sent / 65535, alpha, atol=1e-5)
    assert Image.open(io.BytesIO(one.snapshot())).width > 700
    with pytest.raises(ValueError, match="maps have no queries"):
        one.asked((0, 0))
    with pytest.raises(ValueError, match=r"no shown -1; allowed are 0\.\.1"):
        one.shown = -1
    assert len(AttentionPointer(IMAGE, maps=alpha).maps) == 1


def test_labels_are_taken_at_the_cells():
    labels = np.repeat(np.arange(24) // 12, 36).reshape(24, 36)
    options = {"classes": ("Sky", "Road"), "palette": ((0, 0, 255), (128, 64, 128))}
    one = AttentionPointer(IMAGE, weights(24, 24), grid=GRID, labels=labels, **options)
    assert zlib.decompress(one.places) == bytes([0] * 12 + [1] * 12)
    assert one.pixel[1] < 12  # a pixel of a class, well inside it


def test_what_does_not_fit_is_refused():
    good, maps = weights(24, 24), torch.rand(3, 4, 6)
    for message, given in (
        ("give attention, or", {}),
        ("give attention, or", {"attention": good, "maps": maps, "grid": GRID}),
        ("grid is None", {"attention": good}),
        ("attention has shape \\(24, 24\\); with queries", {"attention": good, "grid": (5, 6)}),
        ("softmax", {"attention": good * 2, "grid": GRID}),
        ("negative", {"attention": -good, "grid": GRID}),
        ("finite", {"attention": good * torch.nan, "grid": GRID}),
        ("with 3 regions", {"attention": good, "regions": maps, "grid": GRID}),
        ("negative", {"attention": weights(24, 3), "regions": -maps, "grid": GRID}),
        ("2 names but 1 maps", {"maps": maps[0], "names": ("a", "b")}),
        ("no pixel \\(36, 0\\)", {"attention": good, "grid": GRID, "pixels": [(36, 0)]}),
        ("needed are finite", {"maps": maps[0] * torch.nan}),
    ):
        with pytest.raises(ValueError, match=message):
            AttentionPointer(IMAGE, **given)


def test_the_script_looks_up_what_python_does(computed):
    attention = weights(2, 24, 24)
    one = AttentionPointer(IMAGE, attention, grid=GRID)
    sent = list(zlib.decompress(one.weights))
    scales = np.frombuffer(zlib.decompress(one.scales), np.float32).tolist()
    found = computed(
        AttentionPointer,
        f"""await (async () => {{
        const data = {{ weights: Uint8Array.from({sent}), scales: Float32Array.from({scales}),
          heads: 2, keys: 24, queries: 24 }};
        const size = [24, 36], grid = [4, 6];
        const even = new Float32Array(10).fill(0.1);
        return {{
          mean: [...weightsOf(data, cellAt([35, 23], size, grid), -1)],
          second: [...weightsOf(data, cellAt([0, 0], size, grid), 1)],
          there: [0, 7, 23].map((cell) => cellAt(middleOf(cell, size, grid), size, grid)),
          half: [cellsOfHalf(even), cellsOfHalf([0.9, 0.1]), cellsOfHalf([1])],
          share: shareByClass([0.5, 0.25, 0.25], [0, 1, 255], 2, 255),
          sum: [...weightedSum([0.5, 0.5],
            [{{ values: [2, 0], high: 2 }}, {{ values: [0, 1], high: 4 }}])],
          digits: [digits(0.000123456), digits(12.345), digits(1)],
        }};
        }})()""",
    )
    np.testing.assert_allclose(found["mean"], one.asked((35, 23)).ravel(), atol=1e-6)
    one.head = 1
    np.testing.assert_allclose(found["second"], one.asked((0, 0)).ravel(), atol=1e-6)
    assert found["there"] == [0, 7, 23]
    assert found["half"] == [5, 1, 1]
    assert found["share"] == [0.5, 0.25]
    assert found["sum"] == [0.5, 0.125]
    assert found["digits"] == ["0.000123", "12.3", "1"]


def test_the_picture_shows_who_asks():
    one = AttentionPointer(IMAGE, weights(24, 24), grid=GRID, pixels=[(2, 2), (30, 20)])
    named = AttentionPointer(
        IMAGE, weights(24, 24), grid=GRID, pixels=[(2, 2), (30, 20)], asking=["a", "b"]
    )
    assert [axes.get_title(loc="left") for axes in named._drawn_asks().axes[:2]] == ["1: a", "2: b"]
    assert named.snapshot() != one.snapshot()
    with pytest.raises(ValueError, match="1 askers are named but 2 pixels ask"):
        AttentionPointer(IMAGE, weights(24, 24), grid=GRID, pixels=[(2, 2), (3, 3)], asking=["a"])
