"""`course.check`: what is right, half, wrong and not answered, and what a learner is told of it."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest
import torch

from segbook import course

VOID = 255


def from_zero(mask):
    return np.where(mask == VOID, VOID, mask - 1).astype(np.uint8)


def masks(rng):
    mask = rng.integers(1, 12, (4, 6)).astype(np.uint8)
    mask[0] = VOID
    return mask


def check(answer, **options):
    given = dict(
        cases=masks,
        edges={"no void": np.ones((2, 2), np.uint8)},
        mistakes={"void moves as well": lambda mask: mask - 1},
    )
    return course.check(answer, from_zero, **(given | options))


def in_place(mask):
    mask[mask != VOID] -= 1
    return mask


@pytest.mark.parametrize(
    "answer",
    [
        from_zero,
        in_place,
        lambda mask: from_zero(mask).tolist(),
        lambda mask: torch.from_numpy(from_zero(mask)).long(),
        lambda mask: [torch.from_numpy(row) for row in from_zero(mask)],
        lambda mask: from_zero(mask).astype(float),
    ],
)
def test_any_kind_of_a_right_result_is_right(answer):
    assert check(answer) == ("right", "right: 4 cases passed.")


def stub(mask):
    """What is wanted."""
    ...


def not_implemented(mask):
    raise NotImplementedError


def ellipsis(mask):
    return ...


@pytest.mark.parametrize("answer", [None, ..., stub, not_implemented, ellipsis])
def test_not_answered_yet(answer):
    assert check(answer).word == "none"
    assert repr(check(answer)).startswith("not answered yet")
    assert "ours passes 4 cases" in check(answer).line


def test_a_forgotten_return_is_named():
    def forgets(mask):
        mask[mask != VOID] -= 1

    assert check(forgets).word == "none"
    assert "`return`" in check(forgets).line
    assert "`return`" not in check(stub).line


def test_a_mistake_is_named_and_half_of_the_cases_are_half_an_answer():
    verdict = check(lambda mask: mask - 1)
    assert verdict.word == "wrong"
    assert "1 of 4 cases pass" in verdict.line
    assert "random case 1 (mask of shape (4, 6))" in verdict.line
    assert verdict.line.endswith("It looks like this: void moves as well.")
    more = {f"no void {n}": np.full((2, 2), n, np.uint8) for n in (1, 2, 3)}
    assert check(lambda mask: mask - 1, edges=more).word == "half"
    assert check(lambda mask: mask).word == "wrong"
    assert "looks like" not in check(lambda mask: mask).line


def test_the_dtype_counts_where_it_is_asked_for():
    def wide(mask):
        return from_zero(mask).astype(np.int64)

    assert check(wide).word == "right"
    assert check(wide, dtype=True).word == "half"
    assert "int64" in check(wide, dtype=True).line
    assert check(lambda mask: from_zero(mask).tolist(), dtype=True).word == "right"


def test_right_values_in_another_shape_are_half():
    assert check(lambda mask: from_zero(mask).reshape(-1)).word == "half"
    assert "transposed" in check(lambda mask: from_zero(mask).T, edges=()).line
    assert check(lambda mask: from_zero(mask)[1:]).word == "wrong"


def test_an_error_is_the_learners_with_its_line_and_short():
    source = "def broken(mask):\n    mask = mask + 1\n    return mask[99]\n"
    space: dict = {}
    exec(compile(source, "<a cell>", "exec"), space)
    verdict = check(space["broken"])
    assert verdict.word == "wrong"
    assert "IndexError in line 3" in verdict.line
    assert len(verdict.line) < 400

    def long(mask):
        raise ValueError("x\x1b[2J" * 1000)

    assert len(check(long).line) < 400
    assert "\x1b" not in check(long).line

    def exits(mask):
        raise SystemExit

    assert check(exits).word == "wrong"


def test_half_when_it_raises_in_some_cases_only():
    verdict = check(lambda mask: from_zero(mask) if (mask == VOID).any() else 1 / 0)
    assert verdict.word == "half"
    assert "no void" in verdict.line
    assert "ZeroDivisionError" in verdict.line


def test_values_and_their_parts():
    assert course.check(16, 16.0).line == "right."
    assert course.check(torch.tensor([16]), 16).word == "right"
    assert course.check(4, 16).line == "wrong."
    assert course.check("Half ", "half").word == "right"
    assert course.check("4", 16).word == "wrong"
    assert course.check([0, 1, 2, 2], torch.tensor([0.0, 1, 2, 2])).word == "right"
    assert course.check(38.8, 38.84, tolerance=0.01).word == "right"
    assert course.check(38.8, 38.84).word == "wrong"
    right = {"constant width": 16, "FLD": 1}
    assert course.check({"constant width": 16, "FLD": 1}, right).word == "right"
    verdict = course.check({"constant width": 16, "FLD": ...}, right)
    assert verdict.line == "half right: constant width: right; FLD: not answered yet."
    assert course.check({"constant width": 9, "FLD": ...}, right).word == "wrong"
    assert course.check((..., ...), (1, 2)).word == "none"
    assert course.check((1, 3), (1, 2)).word == "half"
    assert course.check((1,), (1, 2)).word == "wrong"
    assert course.check([1, 2], (1, 2)).word == "right"
    pair = namedtuple("pair", "high low")
    assert "low: wrong" in course.check(pair(1, 3), pair(1, 2)).line
    assert course.check(9, 16, mistakes={"3 squared": 9}).line.endswith("this: 3 squared.")


def test_tolerance_follows_the_precision_and_the_scale():
    want = torch.linspace(0, 1e-6, 50)
    assert course.check(want * (1 + 1e-6), want).word == "right"
    assert course.check(want * 1.01, want).word == "wrong"
    assert course.check(want.bfloat16(), want).word == "right"
    assert course.check(want.double().numpy(), want).word == "right"
    assert course.check(float("nan"), 1.0).line == "wrong: there is NaN in yours."
    assert course.check([float("nan"), 1], [float("nan"), 1.0]).word == "right"


def test_what_is_no_answer_to_the_question():
    assert check(7).line == "wrong: a function is wanted, and yours is an int."
    assert course.check(object(), 1).word == "wrong"
    assert course.check([[1], [1, 2]], [[1, 2], [3, 4]]).word == "wrong"
    assert check(lambda: 1).word == "wrong"
    assert check(lambda mask: "text").word == "wrong"
    assert check(lambda mask: {"a": 1}).word == "wrong"


def test_a_result_that_is_compared_by_what_it_does():
    def scaled(factor):
        return lambda image: image * factor

    options = dict(cases=lambda rng: float(rng.random()), compare=lambda f, _: f(torch.ones(3)))
    assert course.check(lambda a: lambda image: a * image, scaled, **options).word == "right"
    assert "cannot be used" in course.check(lambda a: a, scaled, **options).line
    assert course.check(lambda a: None, scaled, **options).word == "none"


def test_cases_are_the_same_each_time_and_the_notebooks_random_numbers_go_on():
    torch.manual_seed(3)
    want = torch.rand(2)
    torch.manual_seed(3)
    seen = []

    def drawn(rng):
        return torch.rand(2), rng.random()

    def total(x, y):
        seen.append((x.tolist(), y))
        return x.sum() + y + torch.rand(())

    assert course.check(total, total, cases=drawn).word == "right"
    assert seen[:3] == seen[3:]
    assert len({y for _, y in seen}) == 3
    torch.testing.assert_close(torch.rand(2), want)


def test_it_displays_in_words_and_never_the_answer():
    verdict = check(lambda mask: mask * 0 + 77)
    assert "<b>wrong</b>" in verdict._repr_html_()
    assert not any(str(value) in verdict._repr_html_() for value in (77, VOID))
    hostile = course.check(lambda x: {}["<script>"], lambda x: x, edges=[1])
    assert "<script>" not in hostile._repr_html_()


def test_the_exercises_own_faults_are_said():
    with pytest.raises(AssertionError, match="ours fails at edge case 1"):
        course.check(None, lambda x: 1 / x, edges=[0])
    with pytest.raises(AssertionError, match="no case tells this mistake from ours: doubled"):
        course.check(None, lambda x: x, edges=[0], mistakes={"doubled": lambda x: 2 * x})
    with pytest.raises(ValueError, match="cases"):
        course.check(None, lambda x: x)
    with pytest.raises(ValueError, match="a value has no cases"):
        course.check(None, 1, edges=[1])


def test_nbgrader_gets_the_exception_that_it_counts(monkeypatch):
    monkeypatch.setenv("SEGBOOK_CHECK", "raise")
    assert check(from_zero).word == "right"
    for answer in (stub, lambda mask: mask):
        with pytest.raises(AssertionError, match="not answered yet|wrong: none of 4"):
            check(answer)
