"""The stamper: its numbers are those of a transposed convolution, in Python and in its script."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("anywidget", reason="the notebooks extra is not installed")

from segbook.widgets import Stamper  # noqa: E402
from segkit.models.fcn import bilinear_kernel  # noqa: E402

VALUES = [[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]]


def torch_says(values, kernel, stride):
    one, two = (torch.tensor(x)[None, None].double() for x in (values, kernel))
    return F.conv_transpose2d(one, two, stride=stride)[0, 0].numpy()


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["tent", "ones 2", "ones 3", "learned 3", "learned 4"])
def test_the_sum_is_the_transposed_convolution(stride, name):
    stamper = Stamper(name, VALUES, stride=stride)
    expected = torch_says(np.array(VALUES), stamper.kernel().astype(float), stride)
    np.testing.assert_allclose(stamper.output(), expected, atol=1e-6)


def test_the_script_gives_the_same_and_stamps_one_by_one(computed):
    stamper = Stamper("learned 3", VALUES)
    kernels = {name: stamper.kernels[name] for name in ("learned 3", "ones 2", "tent")}
    found = computed(
        Stamper,
        f"""(() => {{ const values = {json.dumps(VALUES)}, kernels = {json.dumps(kernels)};
        const all = {{}};
        for (const name of Object.keys(kernels)) for (const stride of [1, 2, 3, 4]) {{
          const kernel = kernelOf(kernels, name, stride);
          all[`${{name}} ${{stride}}`] = [stampAll(values, kernel, stride),
            stampAll(values, kernel, stride, 2), countStamps(values, kernel, stride)];
        }}
        return all; }})()""",
    )
    assert len(found) == 12
    for key, (whole, two, meet) in found.items():
        name, _, stride = key.rpartition(" ")
        other = Stamper(name, VALUES, stride=int(stride))
        np.testing.assert_allclose(whole, other.output(), atol=1e-6)
        np.testing.assert_allclose(meet, other.count())
        other.stamps = 2
        np.testing.assert_allclose(two, other.output(), atol=1e-6)


def test_a_checkerboard_where_the_size_is_no_multiple_of_the_stride(computed):
    inside = Stamper("ones 3", np.ones((5, 5)), stride=2).count()[3:-3, 3:-3]
    assert set(inside.ravel()) == {1, 2, 4}
    inside = Stamper("ones 4", np.ones((5, 5)), stride=2).count()[3:-3, 3:-3]
    assert set(inside.ravel()) == {4}
    texts = computed(Stamper, "[verdictOn(3, 2), verdictOn(4, 2), verdictOn(2, 3)]")
    assert texts[0].endswith("1 or 2 stamps meet in turn, a checkerboard.")
    assert "2 stamps meet everywhere" in texts[1]
    assert "leaves gaps" in texts[2]


@pytest.mark.parametrize("stride", [2, 4])
def test_the_tent_is_fcn_s_kernel(stride):
    np.testing.assert_allclose(Stamper(stride=stride).kernel(), bilinear_kernel(stride))


def test_one_direction_takes_lists_arrays_and_tensors():
    for make in (list, np.array, torch.tensor):
        stamper = Stamper(make([1.0, 2.0, 1.0]), make([1, 0, 2]), stride=2)
        assert repr(stamper) == "Stamper(1x3 values, kernel of 1x3, stride 2: 1x7)"
        assert stamper.output().tolist() == [[1, 2, 1, 0, 2, 4, 2]]
    assert stamper.snapshot()[:4] == b"\x89PNG"
    several = Stamper({"box": [1, 1], "edge": [1, -1]}, [1, 2], stride=1)
    assert list(several.kernels) == ["box", "edge"]
    several.name = "edge"
    assert several.output().tolist() == [[1, 1, -2]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tents",), "kernel is 'tents'; known are tent, ones 2"),
        (({},), "no kernel"),
        (("tent", np.ones((9, 2))), r"values have shape \(9, 2\)"),
        (("tent", []), r"values have shape \(0,\)"),
        (([np.nan, 1],), "kernel hold nan"),
    ],
)
def test_what_cannot_be_stamped_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        Stamper(*arguments)
    with pytest.raises(ValueError, match="name is 'x'; it is one of"):
        Stamper().name = "x"
