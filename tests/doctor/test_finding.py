"""Finding: the record of what the doctor says, and its form in a terminal."""

import dataclasses

import pytest

from segkit.doctor import Finding, Place, by_severity


def finding(severity="error", check="size_mismatch", **more):
    return Finding(
        severity, check, "2 pairs of two sizes", "labels lie elsewhere", "resize", **more
    )


def test_the_form_for_a_terminal():
    places = tuple(Place(f"masks/{number}.png", 1200 + number) for number in range(6))
    text = str(finding(places=places, count=9))
    assert text.splitlines() == [
        "error   size_mismatch  2 pairs of two sizes",
        "  where  masks/0.png (1,200 pixels)",
        "  where  masks/1.png (1,201 pixels)",
        "  where  masks/2.png (1,202 pixels)",
        "  where  masks/3.png (1,203 pixels)",
        "  where  masks/4.png (1,204 pixels)",
        "         and 4 more",
        "  why    labels lie elsewhere",
        "  fix    resize",
    ]


def test_a_finding_without_places():
    assert "  where" not in str(finding("note"))
    assert str(finding("note")).startswith("note    size_mismatch")
    assert str(Place("recipe")) == "recipe"


def test_places_are_counted():
    assert finding(places=(Place("a"), Place("b"))).count == 2
    assert finding(places=(Place("a"),), count=7).count == 7


def test_it_is_frozen_and_its_severity_is_known():
    with pytest.raises(dataclasses.FrozenInstanceError):
        finding().severity = "note"
    with pytest.raises(ValueError, match="severity='fatal': choose from error, warning, note"):
        finding("fatal")


def test_errors_come_first_and_the_order_stays():
    found = [
        finding("note", "a"),
        finding("error", "b"),
        finding("warning", "c"),
        finding("error", "d"),
    ]
    assert [f.check for f in by_severity(found)] == ["b", "d", "c", "a"]
