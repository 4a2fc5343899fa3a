"""Guess and quiz answered by mouse and by keyboard, on a page without a kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Visit

widgets = pytest.importorskip("segbook.widgets", reason="the notebooks extra is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_guess(tmp_path: Path, visit: Visit) -> None:
    page = visit.page
    one = widgets.Guess(
        "How high is it at `stride` 32?", answer=38.8, low=0, high=100, unit="%",
        replies=[(70, None, "you forgot </script> the poles")], why="poles are thin",
    )  # fmt: skip
    page.goto(one.save_html(tmp_path / "slider.html").as_uri())
    page.get_by_role("slider").focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    assert page.locator("output").inner_text() == "80 %"
    assert "38.8" not in page.locator("main").inner_text()
    page.keyboard.press("Enter")
    result = page.locator(".result")
    said = "You said 80 %. You forgot </script> the poles.\nAnswer: 38.8 %. Poles are thin."
    assert result.inner_text().replace("\n\n", "\n") == said
    assert page.get_by_role("slider").is_disabled()
    assert page.get_by_role("slider").input_value() == "80"
    visit.shot("guess_slider")

    one = widgets.Guess("Which?", answer="b", choices=["a", "b"], replies={"a": "you thought a"})
    page.goto(one.save_html(tmp_path / "choices.html").as_uri())
    assert page.get_by_role("button", name="Answer").is_disabled()
    page.get_by_role("radio", name="a").check()
    page.get_by_role("button", name="Answer").click()
    assert result.inner_text().startswith("You said a. You thought a.")
    assert page.locator("label").all_inner_texts() == ["a\nyour guess", "b\nthe answer"]

    page.goto(widgets.Guess("?", answer=3).save_html(tmp_path / "number.html").as_uri())
    page.get_by_role("button", name="Show me").click()
    assert result.inner_text().startswith("You did not guess.")
    assert visit.errors == []
    assert visit.elsewhere(tmp_path.as_uri()) == []


def test_quiz(tmp_path: Path, visit: Visit) -> None:
    page = visit.page
    asked = [
        ("Is void a class?", ["yes", "no"], 1, "nothing is counted there"),
        ("Is `2 < 3`?", ["no", "yes", "maybe"], 1, "count"),
        ("Last?", ["a", "b"], 0, "it is"),
    ]
    page.goto(widgets.Quiz(asked).save_html(tmp_path / "quiz.html").as_uri())
    words = page.locator("main")
    assert "counted" not in words.inner_text()
    groups = page.get_by_role("group")
    groups.nth(0).get_by_role("button", name="no").click()
    assert "Right. Nothing is counted there." in words.inner_text()
    groups.nth(1).get_by_role("button", name="maybe").focus()
    page.keyboard.press("a")
    assert groups.nth(1).locator(".said").inner_text() == "No: try again."
    page.keyboard.press("b")
    assert groups.nth(1).locator(".said").inner_text() == "Right now. Count."
    page.keyboard.press("c")  # too late
    assert groups.nth(1).locator(".note").all_inner_texts() == ["✗ wrong", "✓ right"]
    groups.nth(2).get_by_role("button", name="Show the answer").click()
    assert page.locator(".score").inner_text() == "1 of 3 right at the first try."
    visit.shot("quiz")
    assert visit.errors == []
