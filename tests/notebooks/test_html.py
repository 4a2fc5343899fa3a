"""The HTML report: formulas as MathML, and nothing that is asked of the net."""

import html
import os
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from segbook.notebooks.html import mathml, write_html


def report(tmp_path, *cells):
    path = tmp_path / "n.ipynb"
    nbformat.write(new_notebook(cells=list(cells)), path)
    write_html(path, tmp_path / "n.html", beside=tmp_path)
    return (tmp_path / "n.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("source", "display"),
    [
        ("so $x^2$ is", "inline"),
        ("so $ x^2 $ is", "inline"),
        ("$$x^2$$", "block"),
        ("$$\nx^2\n$$", "block"),
        (r"\begin{align} x^2 &= y \\ z &= 1 \end{align}", "block"),
        ("## A title of $x^2$", "inline"),
        ("- a list's $x^2$", "inline"),
        ("$5 and $x^2$", "inline"),
    ],
)
def test_formulas_of_markdown_are_mathml(tmp_path, source, display):
    text = report(tmp_path, new_markdown_cell(source))
    assert f'<math display="{display}">' in text
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in text
    assert text.count("<math") == 1


@pytest.mark.parametrize(
    "source",
    ["costs $5 and $6", "US$ 5 and US$ 6", "$5-$10", "`$x$`", "```\n$x$\n```", r"\$x\$", "a$",
     r"$\unknown{x}$", "$$ $$"],
)  # fmt: skip
def test_other_dollars_stay(tmp_path, source):
    text = report(tmp_path, new_markdown_cell(source))
    assert "<math" not in text
    assert "$" in text


def test_dollars_of_code_and_of_its_text_stay(tmp_path):
    outputs = [
        new_output("stream", text="$y$ and $z$\n"),
        new_output("display_data", data={"text/plain": "$w$"}),
    ]
    text = report(tmp_path, new_code_cell("print('$y$')", outputs=outputs))
    assert "<math" not in text
    assert "$y$ and $z$" in text
    assert "$w$" in text


def test_a_formula_as_an_output_is_mathml(tmp_path):
    data = {"text/latex": r"$\displaystyle \frac{1}{2}$", "text/plain": "1/2"}
    odd = {"text/latex": r"\unknown{<b>}", "text/plain": "?"}
    outputs = [new_output("display_data", data=one) for one in (data, odd)]
    text = report(tmp_path, new_code_cell("half", outputs=outputs))
    assert text.count("<mfrac>") == 1
    assert r"\unknown{&lt;b&gt;}" in text


@pytest.mark.parametrize(
    "formula",
    [r"\mathrm{IoU} = \frac{|A \cap B|}{|A \cup B|}", r"\begin{cases} 1 & x > 0 \\ 0 & x \le 0"
     r" \end{cases}", r"\operatorname*{argmax}_k p_k", r"\hat{y} \in \mathbb{R}^{B \times K}",
     r"\begin{gathered} a \\ b \end{gathered}", r"\sum_{i=1}^N \log \left( p_i \right)"],
)  # fmt: skip
def test_what_lessons_are_written_with_is_understood(formula):
    assert "&amp;" not in (mathml(formula, display="block") or "&amp;")


@pytest.mark.parametrize("formula", ["", "{" * 3000, "}", r"\frac", r"\left(", "^", "&", r"\nope"])
def test_a_formula_that_is_none_never_raises(formula):
    got = mathml(formula, display="inline")
    assert got is None or got.startswith("<math")


@pytest.mark.parametrize(
    "formula",
    [r"\begin{equation} x \label{eq:1} \end{equation}",
     r"\begin{align} a &= b \label{a}\\ c &= d \nonumber \end{align}"],
)  # fmt: skip
def test_labels_are_not_seen(formula):
    got = mathml(formula, display="block")
    assert got is not None
    assert "eq:1" not in got


def test_a_formula_cannot_be_markup(tmp_path):
    for body in ("</math><script>alert(1)</script>", r"\text{</math><script>alert(1)</script>}"):
        assert "<script" not in report(tmp_path, new_markdown_cell(f"${body}$"))


def test_a_picture_that_cannot_be_embedded_stays_a_link(tmp_path):
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "there.png").write_bytes(b"\x89PNG")
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(2**40)
    odd = ["fifo.png", "folder.png", "huge.png", ".", "a" * 5000, "attachment:lost.png",
           "attachment:empty.png"]  # fmt: skip
    links = " ".join(f"![x]({name})" for name in [*odd, "there.png"])
    tags = '<img src="fifo.png"> <img src="folder.png">'
    cell = new_markdown_cell(f"{links}\n\n{tags}", attachments={"empty.png": {}})
    text = report(tmp_path, cell)
    for name in odd:
        assert f'src="{name}"' in text
    assert 'src="data:image/png;base64,iVBORw=="' in text


def test_a_picture_above_the_notebook_is_in_the_report(tmp_path):
    """As the chapters' first pictures are, ``../docs/runs/…``; text beside it is not."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "secret.txt").write_text("secret")
    (below := tmp_path / "notebooks").mkdir()
    cell = new_markdown_cell("![x](../docs/a.jpg) <img src='../docs/a.jpg'> ![y](../secret.txt)")
    text = report(below, cell)
    assert text.count('src="data:image/jpeg;base64,/9g="') == 2
    assert 'src="../secret.txt"' in text


def test_folded_code_is_folded(tmp_path):
    asked = new_code_cell("answer = 41", metadata={"jupyter": {"source_hidden": True}})
    text = report(tmp_path, asked, new_code_cell("shown = 1"))
    assert re.search(r"<details><summary[^>]*>code</summary>[\s\S]*41[\s\S]*</details>", text)
    assert text.count("<details") == 1


def test_the_browser_may_ask_for_nothing_and_is_told_so_first(tmp_path):
    text = report(tmp_path, new_markdown_cell("![far](https://example.org/x.png)"))
    head = html.unescape(text[: text.index("<title>")])
    assert "default-src 'none'" in head
    assert "http" not in head.replace('http-equiv="Content-Security-Policy"', "")
    assert "<script" not in text
