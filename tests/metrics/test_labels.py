"""Label maps from logits: the very labels of torch's own argmax and resize."""

import pytest
import torch
from torch.nn import functional as F

from segkit.metrics import argmax, argmax_resized

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
FORMATS = [torch.contiguous_format, torch.channels_last]


def naive(logits, size):
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False).argmax(1)


def scores(*shape, ties):
    logits = 2 * torch.randn(*shape)
    return logits.round() / 2 if ties else logits  # few values: nearly every pixel has a tie


def assert_same_labels(ours, expected):
    assert ours.dtype == torch.uint8
    assert ours.shape == expected.shape
    assert torch.equal(ours.long(), expected)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    "shape", [(1, 19, 64, 31), (2, 3, 65, 8), (3, 2, 200, 5), (1, 256, 3, 3), (2, 1, 4, 4)]
)
def test_argmax_is_torchs(shape, ties, dtype, memory_format):
    logits = scores(*shape, ties=ties).to(dtype).contiguous(memory_format=memory_format)
    assert_same_labels(argmax(logits), logits.argmax(1))


def test_argmax_takes_the_first_of_a_tie():
    logits = torch.tensor([1.0, 3.0, 3.0, 2.0, 3.0]).reshape(1, 5, 1, 1).expand(1, 5, 4, 6)
    assert (argmax(logits.contiguous()) == 1).all()
    assert (argmax(torch.zeros(1, 5, 4, 6)) == 0).all()


def test_argmax_of_infinities_and_nan_is_torchs():
    logits = torch.randn(1, 6, 130, 7)
    logits[:, 2, ::3] = float("inf")
    logits[:, 4, ::3] = float("inf")
    logits[:, :, 1] = -float("inf")
    assert_same_labels(argmax(logits), logits.argmax(1))
    logits[0, 3, 2, 5] = float("nan")
    logits[0, 5, 2, 5] = float("nan")
    logits[0, 0, 129, 0] = float("nan")
    assert argmax(logits)[0, 2, 5] == 3  # the first NaN, whatever else there is
    assert_same_labels(argmax(logits), logits.argmax(1))


def test_argmax_of_slices_and_whole_numbers():
    logits = torch.randn(2, 5, 40, 30)
    cut = logits[:, 1:, 3:37, ::2]
    assert_same_labels(argmax(cut), cut.argmax(1))
    turned = logits.transpose(2, 3)
    assert_same_labels(argmax(turned), turned.argmax(1))
    whole = (10 * logits).long()
    assert_same_labels(argmax(whole), whole.argmax(1))


def test_argmax_leaves_logits_and_graph_alone():
    logits = torch.randn(1, 4, 8, 8, requires_grad=True)
    before = logits.detach().clone()
    assert not argmax(logits).requires_grad
    assert not argmax_resized(logits, (90, 80)).requires_grad
    assert torch.equal(logits.detach(), before)


# The last size of each line is one that torch resizes with its kernel for small maps.
SIZES = [
    ((8, 16), (64, 128)),
    ((13, 17), (77, 300)),
    ((33, 9), (130, 131)),
    ((2, 3), (100, 30)),
    ((45, 60), (31, 99)),
    ((1, 1), (70, 90)),
    ((1, 7), (1, 200)),
    ((2, 3), (5, 5)),
    ((45, 60), (64, 64)),
]


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("source", "size"), SIZES)
def test_argmax_resized_is_torchs(source, size, ties, dtype, memory_format):
    for batch, num_classes in ((1, 19), (2, 3), (1, 4), (1, 7), (2, 2)):
        logits = scores(batch, num_classes, *source, ties=ties).to(dtype)
        logits = logits.contiguous(memory_format=memory_format)
        assert_same_labels(argmax_resized(logits, size), naive(logits, size))


@pytest.mark.parametrize("num_classes", [3, 7, 19])
@pytest.mark.parametrize(("source", "size"), [*SIZES, ((8, 16), (33, 40))])
def test_argmax_resized_rounds_as_torch_does(source, size, num_classes):
    # All planes alike: what wins is the plane that the kernel rounded up.
    logits = torch.randn(1, 1, *source).repeat(1, num_classes, 1, 1)
    assert_same_labels(argmax_resized(logits, size), naive(logits, size))


def test_argmax_resized_of_a_common_network():
    logits = torch.randn(1, 19, 64, 128)
    assert_same_labels(argmax_resized(logits, (512, 1024)), naive(logits, (512, 1024)))


def test_argmax_resized_to_the_same_size_is_argmax():
    logits = torch.randn(2, 5, 70, 80)
    assert_same_labels(argmax_resized(logits, (70, 80)), logits.argmax(1))


def test_argmax_resized_with_a_nan():
    logits = torch.randn(1, 6, 20, 20)
    logits[0, 3, 10, 10] = float("nan")
    assert_same_labels(argmax_resized(logits, (100, 90)), naive(logits, (100, 90)))


@pytest.mark.parametrize("function", [argmax, lambda x: argmax_resized(x, (5, 5))])
def test_logits_that_give_no_byte_are_refused(function):
    with pytest.raises(ValueError, match=r"\(1, 257, 2, 2\)"):
        function(torch.zeros(1, 257, 2, 2))
    with pytest.raises(ValueError, match=r"\(3, 4, 4\)"):
        function(torch.zeros(3, 4, 4))


@pytest.mark.parametrize("size", [(0, 5), (5,), (5, 5, 5)])
def test_sizes_that_are_none_are_refused(size):
    with pytest.raises(ValueError, match="height, width"):
        argmax_resized(torch.zeros(1, 3, 4, 4), size)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_labels_are_torchs():
    logits = scores(2, 19, 16, 32, ties=True).cuda()
    assert_same_labels(argmax(logits), logits.argmax(1))
    assert_same_labels(argmax_resized(logits, (128, 250)), naive(logits, (128, 250)))


def test_volumes():
    logits = torch.randn(2, 5, 3, 7, 9)
    assert torch.equal(argmax(logits), logits.argmax(1).to(torch.uint8))
