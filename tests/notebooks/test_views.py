"""Widgets give way to what they showed, without a kernel."""

import nbformat
from nbformat.v4 import new_output

from segbook.notebooks.executor import coalesce
from segbook.notebooks.views import VIEW, live, still


def view(model, **data):
    return new_output("display_data", data={VIEW: {"model_id": model}, **data})


def texts(outputs):
    return [o.get("text") or o["data"].get("text/plain") for o in outputs]


def test_a_view_gives_way_to_its_picture_or_its_text():
    shown = view("gone", **{"image/png": "iVBO", "text/plain": "Explorer"})
    [kept] = still([shown], {}, {})
    assert dict(kept["data"]) == {"image/png": "iVBO", "text/plain": "Explorer"}
    assert VIEW in shown["data"]  # the outputs themselves are left
    plain = new_output("stream", text="a")
    assert still([plain], {}, {}) == [plain]
    nbformat.validate(nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_code_cell(outputs=still([view("gone"), view(None)], {}, {}))
    ]))  # fmt: skip


def test_what_output_widgets_hold_follows_in_order_and_in_any_depth():
    states = {
        "box": {"children": ["IPY_MODEL_a", "IPY_MODEL_box", "IPY_MODEL_b", "IPY_MODEL_lost"]},
        "a": {}, "b": {},
    }  # fmt: skip
    held = {
        "a": [new_output("stream", text="in a"), view("b", **{"text/plain": "Output()"})],
        "b": [new_output("stream", text="in b"), view("b", **{"text/plain": "Output()"})],
    }
    assert texts(still([view("b", **{"text/plain": "Output()"})], states, held)) == [
        "in b", "Output()",
    ]  # fmt: skip
    got = texts(still([view("box", **{"text/plain": "VBox()"})], states, held))
    assert got[:2] == ["VBox()", "in a"]
    assert "in b" in got


def test_the_books_own_widgets_are_kept_with_their_bytes_and_no_others():
    own = {"_anywidget_id": "segbook.widgets.wipe.Wipe", "_esm": "…", "layout": "IPY_MODEL_l"}
    states = {
        "w": {**own, "share": 0.5, "pairs": [{"name": "a"}]},
        "s": {"_model_name": "FloatSliderModel", "value": 1.0},
    }
    path = ["pairs", 0, "before"]
    buffers = {"w": {tuple(path): {"path": path, "data": "AAE=", "encoding": "base64"}}}
    shown = [view("w", **{"text/plain": "Wipe(1 pair)"}), view("s"), view(None), view({"a": 1})]
    cell = nbformat.v4.new_code_cell(id="painter", outputs=shown)
    [kept] = live([nbformat.v4.new_markdown_cell(), cell], states, buffers)
    state = {"share": 0.5, "pairs": [{"name": "a", "before": {"base64": "AAE="}}]}
    assert kept == {"cell": "painter", "text": "Wipe(1 pair)", "widget": "Wipe", "state": state}
    assert states["w"]["pairs"] == [{"name": "a"}]  # the kernel's own is left as it is


def test_what_a_cell_shows_as_a_view_may_be_anything():
    for odd in ("text", None, {}, [], {"model_id": ["x"]}, {"model_id": {"a": 1}}):
        [kept] = still([new_output("display_data", data={VIEW: odd, "text/plain": "x"})], {}, {})
        assert dict(kept["data"]) == {"text/plain": "x"}
    states = {
        "a": {"children": 5},
        "b": {"children": [None, ["x"]], "_model_name": ["Progress"], "value": None, "max": "?"},
    }
    assert texts(still([view("a"), view("b")], states, {})) == [None, "None of ?"]


def test_a_progress_bar_says_where_it_ended():
    states = {
        "tqdm": {"children": ["IPY_MODEL_l", "IPY_MODEL_p", "IPY_MODEL_r"]},
        "l": {"_model_name": "HTMLModel", "value": "100%"},
        "p": {"_model_name": "FloatProgressModel", "value": 3.0, "max": 3.0},
        "r": {"_model_name": "HTMLModel", "value": " 3/3 [00:00&lt;00:00]"},
    }
    bars = [view("tqdm", **{"text/plain": "0%|  | 0/3"}), view("p", **{"text/plain": "0"})]
    assert texts(still(bars, states, {})) == ["100% 3/3 [00:00<00:00]", "3 of 3"]


def test_streams_are_merged_and_a_carriage_return_takes_its_line_back():
    def stream(name, text):
        return new_output("stream", name=name, text=text)

    shown = new_output("display_data", data={"text/plain": "x"})
    outputs = [
        stream("stderr", "e"),
        stream("stdout", "0%\r"),
        shown,
        stream("stdout", "50%\rdone\n"),
    ]
    merged = coalesce(outputs)
    assert [o.get("name") for o in merged] == ["stdout", "stderr", None]
    assert merged[0].text == "done\n"
    assert merged[2] is shown
    assert [o.get("text") for o in outputs] == ["e", "0%\r", None, "50%\rdone\n"]
    for text, left in [
        ("a\r\nb\r\n", "a\r\nb\r\n"),
        ("a\rb\r", "b\r"),
        ("\r", "\r"),
        ("a\r\r\n", "a\r\r\n"),
    ]:
        assert coalesce([stream("stdout", text)])[0].text == left
