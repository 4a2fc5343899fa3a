"""Lists of classes, ours and other tools': read rightly or refused, never shifted by one."""

import json

import numpy as np
import pytest

from segkit.data.classes import find_classes, void_ids

AB = ("road", "tree")


def read(folder, content, name="classes.txt"):
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    return find_classes(folder)


@pytest.mark.parametrize(
    "content",
    [
        "road\ntree\n",
        "\ufeffroad\r\ntree\r\n\r\n",
        "road\rtree\r",
        "  road\t\n\n tree  ",
        "# our classes\nroad\n#\n# both are outside\ntree\n",
        "__ignore__\nroad\ntree\n",
        "# label:color_rgb:parts:actions\nroad:::\ntree:::jump,run\n",
        "id,name\n0,road\n1,tree\n",
        "name,id\ntree,1\nroad,0\n",
        "Class ID;Class Name\n0;road\n1;tree\n",
        "label\tcount\troad?\nroad\t1\tx\ntree\t2\ty\n",
        '"0","road"\n"1","tree"\n',
        "1,tree\n0,road\n",
        "0 road\n1 tree\n",
        "  1   tree\n  0   road\n",
        "0: road\n1: tree\n",
        "0\troad\n1\ttree\n",
        "road = 0\ntree = 1\n",
        "tree:1\nroad:0\n",
        "Pixel Value, Class\n1, tree\n0, road\n",  # Roboflow's
        ",name\n1,tree\n0,road\n",  # pandas' index
        "order,name,area\n1,tree,40\n0,road,30\n",
    ],
)
def test_what_is_read(tmp_path, content):
    classes = read(tmp_path, content)
    assert classes.names == AB
    assert not classes.coloured


@pytest.mark.parametrize(
    "content",
    [
        "# label:color_rgb:parts:actions\nroad:1,2,3::\ntree:4,5,6::a,b\n",
        "name,r,g,b\nroad,1,2,3\ntree,4,5,6\n",
        "road,1,2,3\ntree,4,5,6\n",
        "id,name,red,green,blue\n1,tree,4,5,6\n0,road,1,2,3\n",
    ],
)
def test_colours_beside_the_names(tmp_path, content):
    assert read(tmp_path, content) == (AB, ((1, 2, 3), (4, 5, 6)), True)


@pytest.mark.parametrize(
    "names",
    [
        ("traffic light", "sign #2", "screen, CRT"),
        ("area 0", "area 1"),
        ("0", "1"),
        ("Fußgänger", "木", "نیم‌فاصله"),
        ("a:b", "c"),
        ("1st floor", "roof"),
    ],
)
def test_names_that_only_look_odd(tmp_path, names):
    assert read(tmp_path, "\n".join(names)).names == names
    assert read(tmp_path, json.dumps(names), "classes.json").names == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name\nroad\ntree\n", "line 1 of .*'name', looks like a heading"),
        ("Class Name\nroad\n", "line 1 of .* looks like a heading"),
        ("My classes\n0 road\n1 tree\n", "line 1 of .*'My classes', looks like a heading"),
        ("list\nroad,1,2,3\ntree,4,5,6\n", "line 1 of .*'list', looks like a heading"),
        ("0 road\n1 tree\ncar\n", "line 3 of .*'car', looks like"),
        ("#road\ntree\n", "line 1 of .*'#road', looks like a remark"),
        ("road  # drivable\ntree\n", "looks like a remark"),
        ("// x\nroad\ntree", "looks like a remark"),
        ('["road",\n"tree"]\n', "program's text"),
        ('"road",\n"tree",\n', "program's text"),
        ("road,\ntree,\n", "program's text"),
        ("names:\n- road\n- tree\n", "program's text"),
        ("- road\n- tree\n", "program's text"),
        ("1 road\n2 tree\n", r"numbers its 2 classes \[1, 2\].*subtract 1"),
        ("0 road\n2 tree\n", r"numbers its 2 classes \[0, 2\]"),
        ("0 road\n0 tree\n", r"numbers its 2 classes \[0, 0\]"),
        ("tree 1\nroad 0\n", "looks like a name with its id"),
        ("64 128 64\tAnimal\n192 0 128\tArch\n", "row of a table whose columns"),
        ("big tree, green\nroad, grey\n", "row of a table whose columns"),
        ("Idx\tRatio\tName\n1\t0.1\twall\n2\t0.2\tbuilding\n", r"numbers its 2 classes \[1, 2\]"),
        ("road\nroad\ntree\n", "'road' is there twice"),
        ("road\n road \n", "'road' is there twice"),
        ("road\n__ignore__\ntree\n", '__ignore__.*take it out.*\\["road", "tree"\\]'),
        ("road\t#ff0000\ntree\n", "looks like a remark"),
        ("road // drivable\ntree\n", "looks like a remark"),
        ("road\ntree -- green\n", "looks like a remark"),
        ("road\ntree ; green\n", "looks like a name with a remark"),
        ("-- classes\nroad\ntree\n", "looks like a remark"),
        ("/* classes */\nroad\ntree\n", "looks like a remark"),
        ("<!-- x -->\nroad\ntree\n", "program's text"),
        ("---\nroad\ntree\n", "line 1 of .* looks like"),
        ("* road\n* tree\n", "line 1 of .* looks like"),
        ("`road`\n`tree`\n", "program's text"),
        ("<c>\n<name>road</name>\n</c>\n", "program's text"),
        ("| id | name |\n|---|---|\n| 0 | road |\n", "program's text"),
        ("2\nroad\ntree\n", "line 1 of .*'2', looks like how many"),
        ("road\ntree\n2\n", "line 3 of .*'2', looks like how many"),
        ("Class names\nroad\ntree\n", "line 1 of .* looks like a heading"),
        ("label_names\nroad\ntree\n", "line 1 of .* looks like a heading"),
        ("name r g b\nroad 1 2 3\ntree 4 5 6\n", "line 1 of .* looks like a heading"),
        ("64 128 64 Animal\n192 0 128 Arch\n", "row of a table whose columns"),
        ("classes = 2\nnames = obj.names\n", "row of a table whose columns"),
        ("nc: 2\nnames: ['road', 'tree']\n", "row of a table whose columns"),
        ("0 -> road\n1 -> tree\n", "parted by other signs"),
        ("0=>road\n1=>tree\n", "parted by other signs"),
        ("code,name\n10,road\n20,tree\n", r"numbers its 2 classes \[10, 20\]"),
        ("Pixel Value, Class\n2, tree\n0, road\n", r"numbers its 2 classes \[0, 2\]"),
        ("road\ntree\n".encode("utf-16-le"), r"line 1 of .*x00.*another encoding"),
        ("road\n\ufefftree\n", r"line 2 of .*ufefftree.*another encoding"),
        ("ro\x1b[31mad\ntree\n", "line 1 of .*another encoding"),
        (b"caf\xe9\ntree\n", "no text in UTF-8"),
        ("road\ntree\n".encode("utf-16"), "no text in UTF-8"),
        (b"a\n" * (3 << 20), "6,291,456 bytes, at most"),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, content)


@pytest.mark.parametrize(
    "content",
    [
        ["road", "tree"],
        ["__ignore__", "road", "tree"],
        {"classes": ["road", "tree"]},
        {"0": "road", "1": "tree"},
        {"1": "tree", "0": "road"},
        {"model_type": "segformer", "id2label": {"1": "tree", "0": "road"}},
        {"tree": 1, "road": 0},
        {"label2id": {"tree": 1, "road": 0}},
        {"categories": [{"id": 1, "name": "tree"}, {"id": 0, "name": "road"}]},
        {"labels": {"road": 0, "tree": 1}, "channel_names": {"0": "CT"}},  # nnU-Net
        [{"id": 1, "title": "tree"}, {"id": 0, "title": "road"}],
        [{"train_id": 1, "name": "tree"}, {"train_id": 0, "name": "road"}],
    ],
)
def test_json_of_other_tools(tmp_path, content):
    assert read(tmp_path, "\ufeff" + json.dumps(content), "classes.json").names == AB


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"tree": 1, "road": 0}, AB),
        ({1: "tree", 0: "road"}, AB),
        (iter(AB), AB),
        ({"road", "tree"}, None),  # a set has another order in each process
        ("road", None),
        (2, None),
    ],
)
def test_what_a_caller_gives(tmp_path, given, names):
    if names:
        assert find_classes(tmp_path, given).names == names
    else:
        with pytest.raises(ValueError, match="different names are needed"):
            find_classes(tmp_path, given)


@pytest.mark.parametrize("name", ["Classes.txt", "classes.TXT", "classes", "classes.txt.txt"])
def test_another_spelling_of_the_list_is_named(tmp_path, name):
    (tmp_path / name).write_text("road\ntree\n")
    with pytest.raises(ValueError, match=f"{name} lies there, which is another name"):
        find_classes(tmp_path)


def test_colours_as_other_tools_write_them(tmp_path):
    rows = [
        {"id": 0, "name": "road", "color": "#010203"},
        {"id": 1, "name": "tree", "color": "#fff"},
    ]
    assert read(tmp_path, json.dumps(rows), "classes.json").palette == ((1, 2, 3), (255, 255, 255))


def test_colours_go_with_their_names(tmp_path):
    rows = [
        {"id": 1, "name": "tree", "color": [4, 5, 6]},
        {"id": 0, "name": "road", "color": [1, 2, 3]},
    ]
    assert read(tmp_path, json.dumps(rows), "classes.json").palette == ((1, 2, 3), (4, 5, 6))
    content = {"classes": {"1": "tree", "0": "road"}, "palette": [[1, 2, 3], [4, 5, 6]]}
    assert read(tmp_path, json.dumps(content), "classes.json").palette == ((1, 2, 3), (4, 5, 6))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"0": "road", "0": "tree"}', "the key '0' is there twice"),
        ('{"0": "road", "2": "tree"}', r"numbers its 2 classes \[0, 2\]"),
        ('{"1": "road", "2": "tree"}', "subtract 1"),
        ('[{"id": 1, "name": "road"}, {"id": 2, "name": "tree"}]', "subtract 1"),
        ('[{"name": "road"}, {"name": "tree"}]', "names are needed.*write the names to classes"),
        ('[{"id": 0, "trainId": 1, "name": "a"}, {"id": 1, "trainId": 0, "name": "b"}]', "names"),
        ('{"0": null, "1": "tree"}', "different names are needed"),
        ('["road", ""]', "different names are needed"),
        ('["road", " road"]', "is there twice"),
        (r'["\ud800", "tree"]', r"the name '\\ud800', which is no text"),
        ("[" * 900 + "]" * 900, "different names are needed|is no JSON"),
        ('{"classes": ' * 990 + "1" + "}" * 990, "different names are needed|is no JSON"),
        ("[1e999, NaN]", "different names are needed"),
    ],
)
def test_json_that_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as raised:
        read(tmp_path, content, "classes.json")
    assert len(str(raised.value)) < 1000


def test_another_tools_list_beside_the_data_is_named(tmp_path):
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nroad:::\ntree:::\n")
    with pytest.raises(ValueError, match=r"labelmap\.txt lies there: copy it to classes\.txt"):
        find_classes(tmp_path)
    (tmp_path / "labelmap.txt").rename(tmp_path / "classes.txt")  # as it says
    assert find_classes(tmp_path).names == AB


def test_the_cure_of_a_refusal_can_be_followed(tmp_path):
    with pytest.raises(ValueError, match="write the names to") as raised:
        read(tmp_path, "1 road\n2 tree\n")
    written = str(raised.value).split("such as ")[1].split(", in the order")[0]
    assert read(tmp_path, written, "classes.json").names == AB


@pytest.mark.parametrize("name", ["classes.txt", "classes.json"])
def test_a_pipe_in_place_of_the_list_is_named(tmp_path, name):
    import os

    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name} is a pipe"):
        find_classes(tmp_path)


def test_void_ids():
    assert void_ids(255) == ()
    assert void_ids(0) == void_ids((0, 255)) == void_ids([255, 0, 0]) == (0,)
    assert void_ids((7, 3)) == (3, 7)
    assert void_ids(np.uint8(7)) == void_ids([np.int64(7)]) == (7,)
    for wrong in (-1, 256, True, None, "0", (0, 300), (True,), 1.5):
        with pytest.raises(ValueError, match="id of void pixels, 0..255, or several"):
            void_ids(wrong)
