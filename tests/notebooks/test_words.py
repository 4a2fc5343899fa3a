"""Every new word is bold where it comes first on the road, and stands in the glossary.

A term is bold text of at most five words that ends without a full stop: ``the **stride** of a map
is …``. Bold text that ends in a sign (a title, a question) and bold cells of tables are none. An
entry of ``glossary.md`` names the term, its other forms, and the chapter in which it is bold first:

    **stride**: How many pixels lie between two neighbouring values of a map. [02](02_fcn.ipynb)
"""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest
import road

PLAIN = set(
    "attention class head key label mask policy precision query rate recall skip value".split()
)
"""Terms that are also words of every day: they may be used before they are explained."""
NAMES = set(
    "CamVid CIFAR ImageNet PyTorch NumPy JupyterLab GitHub BatchNorm ResNet AlexNet GoogLeNet "
    "MobileNet DeepLab DeepLabV OCNet OCRNet HRNet SegNet PSPNet RefineNet BiSeNet "
    "EfficientNet SegFormer LiteSeg FastFCN ParseNet LaTeX macOS VOC COCO ADE BSD PASCAL ISBI "
    "MNIST VGG TensorFlow PaddleSeg OpenCV CPU CPUs GPU GPUs RAM GB MB KB PNG JPEG SVG HTML "
    "RGB RGBA JSON URL AMX CUDA ONNX DIY PDF API TPU MIT OK IDs CVPR ECCV ICCV ICLR NeurIPS "
    "MICCAI NIPS PAMI BMVC WACV arXiv NaN PP".split()
)
"""Names and abbreviations of every day that no chapter explains."""
BOLD = re.compile(r"\*\*(?P<term>[^*\n]+?)\*\*")
ABBREVIATION = re.compile(r"(?<![\w/])(?:[A-Za-z\d]*[A-Z]){2}[A-Za-z\d]*(?![\w/])")
TABLE = re.compile(r"^\|.*$", re.M)
ENTRY = re.compile(r"\*\*(?P<names>.+?)\*\*: (?P<text>.+) \[(?P<label>\d\d)\]\((?P<file>[\w.]+)\)")


class Entry(NamedTuple):
    names: list[str]
    text: str
    label: str
    chapter: str


def glossary() -> list[Entry]:
    """The entries, in order; each a line that begins with bold text."""
    entries = []
    for line in (road.FOLDER / "glossary.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("**"):
            found = ENTRY.fullmatch(line)
            assert found, (
                f"no entry: write `**term**, **other form**: Sentence. [NN](file)`: {line}"
            )
            names = re.split(r"\*\*, \*\*", found["names"])
            entries.append(
                Entry(names, found["text"], found["label"], found["file"].removesuffix(".ipynb"))
            )
    return entries


def folded(term: str) -> str:
    """A term as it is compared: the plural is the singular, capitals do not count."""
    word = " ".join(term.lower().replace("-", " ").split())
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


KNOWN = {folded(name): entry for entry in glossary() for name in entry.names}


def bolds(chapter):
    """(cell, where in it, term) of each term that is bold in a chapter."""
    for cell in road.texts(chapter):
        text = TABLE.sub(lambda line: " " * len(line[0]), cell.prose)
        for found in BOLD.finditer(text):
            term = found["term"].strip()
            title = text[: found.start()].rpartition("\n")[2].startswith("#")
            if not title and re.fullmatch(r"[^\d\W][^.:?!,;]*[^.:?!,;\s]", term):
                if len(term.split()) <= 5:
                    yield cell.number, found.start(), term


def first_bolds(chapter):
    """Where each term, and each abbreviation within one, is bold first."""
    places: dict[str, tuple[int, int]] = {}
    for number, place, term in bolds(chapter):
        for word in (term, re.sub(r"\s*\(.*\)", "", term), *ABBREVIATION.findall(term)):
            places.setdefault(folded(word), (number, place))
    return places


def body(chapter):
    """A chapter's cells behind the title and the table of what one learns."""
    for cell in road.texts(chapter):
        if cell.number > 1 and "You will learn" not in cell.source:
            yield cell


def earlier(chapter):
    """The words that the chapters in front explain."""
    before = road.ROAD[: road.ROAD.index(chapter)]
    return {word for name in before if name in road.written() for word in first_bolds(name)} | {
        word for word, entry in KNOWN.items() if entry.chapter in before
    }


def not_in_the_glossary(chapter):
    for number, _, term in bolds(chapter):
        if not {folded(term), folded(re.sub(r"\s*\(.*\)", "", term))} & set(KNOWN):
            yield f"cell {number}: **{term}** has no entry in glossary.md (emphasis is *italic*)"


def early_abbreviations(chapter):
    known, own = earlier(chapter), first_bolds(chapter)
    for cell in body(chapter):
        for found in ABBREVIATION.finditer(cell.prose):
            word = folded(found[0])
            if found[0] in NAMES or found[0].removesuffix("s") in NAMES or word in known:
                continue
            if word not in own or own[word] > (cell.number, found.start()):
                known = known | {word}  # once is enough
                yield (
                    f"cell {cell.number}: {found[0]} is not explained yet; make it bold, with a "
                    "sentence (a name that everybody knows: NAMES in test_words.py)"
                )


def early_terms(chapter):
    """In its own chapter above its bold line, or in one in front of that chapter."""
    own, order = first_bolds(chapter), road.ROAD.index
    for entry in glossary():
        forms = [folded(name) for name in entry.names if folded(name) not in PLAIN]
        bold = min((own[form] for form in forms if form in own), default=None)
        if order(entry.chapter) < order(chapter) or (bold is None and entry.chapter == chapter):
            continue  # it is known, or `not_explained` says so
        words = "|".join("[- ]".join(map(re.escape, form.split())) for form in forms)
        form = re.compile(rf"(?<![\w-])({words})s?(?![\w-])", re.IGNORECASE)
        uses = ((cell.number, form.search(cell.prose)) for cell in body(chapter) if forms)
        used, found = next((use for use in uses if use[1]), (0, None))
        if found and (bold is None or used < bold[0]):
            yield (
                f"cell {used}: {found[0]!r} comes before it is explained (in "
                f"{entry.chapter}); explain it here and link the entry to it, or say it otherwise"
            )


def not_explained(chapter):
    own = first_bolds(chapter)
    for entry in glossary():
        forms = {folded(name) for name in entry.names} & set(own)
        if entry.chapter == chapter and not forms:
            yield f"{entry.names[0]!r} is not bold in it, and its entry links here"
        if forms and road.ROAD.index(entry.chapter) > road.ROAD.index(chapter):
            yield f"{entry.names[0]!r} is bold in it, and its entry links to {entry.chapter}, later"


@pytest.mark.parametrize("chapter", road.written())
def test_the_words_of_a_chapter_are_explained_where_they_come_first(chapter):
    checks = (not_in_the_glossary, early_abbreviations, early_terms, not_explained)
    wrong = list(dict.fromkeys(line for check in checks for line in check(chapter)))
    assert not wrong, "\n".join([f"{len(wrong)} words of {chapter}:", *wrong])


def test_the_glossary_is_in_order_and_each_entry_short():
    entries = glossary()
    assert len(entries) >= 40
    names = [entry.names[0].lower() for entry in entries]
    assert names == sorted(names), [b for a, b in zip(names, names[1:], strict=False) if b < a]
    forms = [folded(name) for entry in entries for name in entry.names]
    assert len(forms) == len(set(forms)), {form for form in forms if forms.count(form) > 1}
    for entry in entries:
        assert entry.chapter in road.ROAD, f"{entry.names[0]} links to {entry.chapter}"
        assert entry.label == entry.chapter[:2], entry
        sentences = len(re.findall(r"[.!?](?= [A-Z]|$)", entry.text))
        assert 1 <= sentences <= 2, f"{entry.names[0]}: {sentences} sentences"


@pytest.mark.xfail(set(road.written()) < set(road.ROAD), reason="chapters to come", strict=True)
def test_all_that_the_glossary_links_to_is_there():
    assert {entry.chapter for entry in glossary()} <= set(road.written())


def test_the_checks_find_what_they_are_for(monkeypatch):
    cells = [
        road.Text(1, "# FCN", "# FCN"),
        road.Text(2, "", "ASPP first. **atrous spatial pyramid pooling (ASPP)**, a **New Word**."),
        road.Text(3, "", "**1. Title.** the **CRF** again; CRFs, CamVid, ASPP\n\n| **Table** |"),
        road.Text(4, "", "| **You** | XYZ |"),
    ]
    monkeypatch.setattr(road, "texts", lambda chapter: cells if chapter == "00_start" else [])
    assert [term for *_, term in bolds("00_start")] == [
        "atrous spatial pyramid pooling (ASPP)", "New Word", "CRF",
    ]  # fmt: skip
    assert [line.split(" is ")[0] for line in early_abbreviations("00_start")] == [
        "cell 2: ASPP", "cell 4: XYZ",
    ]  # fmt: skip
    assert any("New Word" in line for line in not_in_the_glossary("00_start"))
    assert any("'stride'" in line for line in not_explained("01_labels_and_metrics"))
    cells[3] = road.Text(4, "", "At stride 32 a pole is gone.")
    assert ["cell 4: 'stride'"] == [
        line.split(" comes")[0] for line in early_terms("00_start") if "stride" in line
    ]
