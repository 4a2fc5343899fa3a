"""Files made to do harm: each is refused by name, and nothing that is in them ever runs.

Pictures: test_hostile_images.py. Archives (`..`, absolute paths, links, bombs): tests/data_scripts.
"""

import json
import os
import pickle
import signal
import struct
import threading
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from segbook import recipes
from segbook.notebooks import parameters
from segkit.engine import checkpoint, load_checkpoint, save_checkpoint
from segkit.engine.checkpoint import FORMAT, LAST
from segkit.weights import load_weights, read_header


@pytest.fixture
def marker(tmp_path):
    """The file that attackers' code would make: it is not there at the end."""
    path = tmp_path / "the code ran"
    yield path
    assert not path.exists()


@contextmanager
def in_time(seconds=20):
    """Ends a test that hangs."""
    assert threading.current_thread() is threading.main_thread()

    def late(*_):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Attack:
    """Makes the marker when it is unpickled."""

    def __init__(self, marker):
        self.command = f"touch '{marker}'"

    def __reduce__(self):
        return os.system, (self.command,)


def test_the_attack_works(tmp_path):
    pickle.loads(pickle.dumps(Attack(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("form", ["torch", "legacy", "pickle"])
def test_a_pickle_as_checkpoint_or_weights_does_not_run(tmp_path, marker, form):
    path = tmp_path / LAST
    if form == "pickle":
        path.write_bytes(pickle.dumps({"state": Attack(marker)}))
    else:
        new = form == "torch"
        torch.save({"state": Attack(marker)}, path, _use_new_zipfile_serialization=new)
    with pytest.raises(ValueError, match=LAST):
        load_checkpoint(tmp_path)
    for read in (read_header, lambda source: load_weights(nn.Linear(1, 1), source)):
        with pytest.raises(ValueError, match=rf"{LAST} is a pickle"):
            read(path)


def tensor(shape, offsets, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def file_of(header, data=bytes(16), length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


GOOD = tensor([4], [0, 16])
LYING = {
    "length_2_60": file_of({"a": GOOD}, length=2**60),
    "length_all_ones": file_of({"a": GOOD}, length=2**64 - 1),
    "length_beyond_the_file": file_of({"a": GOOD}, length=90),
    "length_0": file_of({"a": GOOD}, length=0),
    "offsets_beyond_the_file": file_of({"a": tensor([4], [0, 2**40])}),
    "a_tensor_beyond_the_file": file_of({"a": tensor([2**38], [0, 2**40])}),
    "overlapping": file_of({"a": GOOD, "b": GOOD}),
    "half_overlapping": file_of({"a": tensor([2], [0, 8]), "b": tensor([2], [4, 12])}),
    "a_hole": file_of({"a": tensor([1], [0, 4]), "b": tensor([1], [12, 16])}),
    "backwards": file_of({"a": tensor([4], [16, 0])}),
    "negative_offset": file_of({"a": tensor([4], [-16, 0])}),
    "negative_shape": file_of({"a": tensor([-4], [0, 16])}),
    "shape_overflows": file_of({"a": tensor([2**32, 2**32, 4], [0, 16])}),
    "dtype_too_wide": file_of({"a": tensor([4], [0, 16], "F64")}),
    "dtype_too_narrow": file_of({"a": tensor([4], [0, 16], "F16")}),
    "dtype_unknown": file_of({"a": tensor([4], [0, 16], "PICKLE")}),
    "no_dtype": file_of({"a": {"shape": [4], "data_offsets": [0, 16]}}),
    "fractions": file_of({"a": tensor([4.5], [0, 16])}),
    "not_a_dict": file_of({"a": [1, 2, 3]}),
    "a_list": file_of([1, 2]),
    "deep_nesting": file_of(b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
    "deep_lists": file_of({"a": GOOD, "__metadata__": {}})[:8] + b"[" * 100_000,
    "not_utf_8": file_of(b'{"\xff\xfe": 1}'),
    "same_name_twice": file_of(
        b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
        b'"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    ),
    "metadata_no_texts": file_of({"__metadata__": {"format": 7}, "a": GOOD}),
}


@pytest.mark.parametrize("name", LYING)
def test_a_lying_header_is_refused_by_name(tmp_path, name):
    path = tmp_path / LAST
    path.write_bytes(LYING[name])
    model = nn.Linear(1, 1)
    with in_time():
        with pytest.raises(ValueError, match=LAST):
            load_checkpoint(tmp_path)
        with pytest.raises(ValueError, match=LAST):
            load_weights(model, path)


def test_a_pipe_as_checkpoint_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / LAST)
    with in_time(), pytest.raises(ValueError, match=rf"{LAST} is a pipe"):
        load_checkpoint(tmp_path)


def forged(folder, tree, *, tensors=None, metadata=()):
    """A checkpoint that nothing is wrong with but its content: its digest is right."""
    tensors = tensors or {"t000000": torch.zeros(5056, dtype=torch.uint8)}
    tree = tree if isinstance(tree, str) else json.dumps(tree)
    digest = checkpoint._digest(tree, tensors)
    described = {"format": FORMAT, "tree": tree, "digest": digest, **dict(metadata)}
    save_file(tensors, folder / LAST, described)


def tree_with(state, **rng):
    parts = {"torch": {"tensor": "t000000"}, "cuda": [], "python": None, "numpy": None, **rng}
    return {"dict": [["state", state], ["rng", {"dict": [[k, v] for k, v in parts.items()]}]]}


TREES = {
    "no_json": "{",
    "nothing": "null",
    "number": "7",
    "huge_number": "9" * 5000,
    "nan": "NaN",
    "deep": "[" * 100_000 + "]" * 100_000,
    "deep_tuples": '{"tuple": [' * 50_000 + "]}" * 50_000,
    "empty_dict": {},
    "two_kinds": {"dict": [], "tuple": []},
    "unknown_kind": {"object": ["os.system", "ls"]},
    "tensor_that_is_missing": {"tensor": "t999999"},
    "tensor_by_a_list": {"tensor": ["t000000"]},
    "dict_of_a_number": {"dict": 7},
    "dict_of_triples": {"dict": [["a", 1, 2]]},
    "key_that_is_a_list": {"dict": [[["a"], 1]]},
    "key_that_is_a_tensor": {"dict": [[{"tensor": "t000000"}, 1]]},
    "tuple_of_a_number": {"tuple": 3},
    "no_state": {"dict": [["rng", {}]]},
    "state_is_a_list": tree_with([1, 2]),
    "no_rng": {"dict": [["state", {"dict": []}]]},
    "rng_is_a_number": {"dict": [["state", {"dict": []}], ["rng", 3]]},
    "rng_of_zeros": tree_with({"dict": []}),
    "rng_is_a_text": tree_with({"dict": []}, torch="mt19937"),
}


@pytest.mark.parametrize("name", TREES)
def test_a_forged_tree_is_refused_by_name(tmp_path, name):
    forged(tmp_path, TREES[name])
    with in_time(), pytest.raises(ValueError, match=LAST):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("part", ["python", "numpy"])
@pytest.mark.parametrize(
    "value", [None, 7, "x", [3, [1, 2], None], {"tuple": [3, {"tuple": [1]}, 0]}]
)
def test_forged_random_numbers_are_refused_by_name(tmp_path, part, value):
    save_checkpoint(tmp_path, {})
    state, rng = checkpoint._read(tmp_path / LAST)
    tensors = {}
    tree = checkpoint._flatten({"state": state, "rng": rng}, tensors)
    pairs = dict(tree["dict"])["rng"]["dict"]
    pairs[[key for key, _ in pairs].index(part)][1] = value
    forged(tmp_path, tree, tensors=tensors)
    with in_time(), pytest.raises(ValueError, match=rf"{LAST}.*no state of random numbers"):
        load_checkpoint(tmp_path)


def test_metadata_that_is_missing_or_of_another_format(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / LAST)
    with pytest.raises(ValueError, match=rf"{LAST}.*not written by segkit"):
        load_checkpoint(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / LAST, {"format": FORMAT})
    with pytest.raises(ValueError, match=LAST):
        load_checkpoint(tmp_path)


CODE = "__import__('os').system('touch {marker}')"


@pytest.mark.parametrize("tag", ["apply:os.system", "new:os.system", "apply:subprocess.Popen"])
def test_tags_in_a_parameter_file_do_not_run(tmp_path, marker, tag):
    file = tmp_path / "p.yaml"
    file.write_text(f"steps: !!python/object/{tag}\n  - touch '{marker}'\n")
    declared = {"steps": parameters.Parameter("steps", "int", 1)}
    with pytest.raises(ValueError, match=r"p\.yaml is no YAML of plain values"):
        parameters.values(declared, file=file)


@pytest.mark.parametrize("kind", ["int", "float", "bool", "list[int]", "tuple[int, int]", "dict"])
def test_code_is_no_value_of_a_parameter(marker, kind):
    declared = {"steps": parameters.Parameter("steps", kind, None)}
    with pytest.raises(ValueError, match=f"steps is declared as .*{kind[:3]}"):
        parameters.values(declared, texts=["steps=" + CODE.format(marker=marker)])


@pytest.mark.parametrize("text", [CODE, "'; " + CODE + " #", 'x"""\n' + CODE + '\n"""', "\\"])
def test_code_in_a_text_parameter_stays_a_text(marker, text):
    text = text.format(marker=marker)
    cells = [{"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "name = 'a'"}]
    values = parameters.values(parameters.declared(cells), texts=[f"name={text}"])
    parameters.inject(
        cells, values, new_cell=lambda s: {"cell_type": "code", "metadata": {}, "source": s}
    )
    found = {}
    exec(cells[1]["source"], {"__builtins__": {}}, found)
    assert found == {"name": text}


@pytest.mark.parametrize("field", ["steps", "lr", "crop", "model_options", "phases", "ema"])
def test_code_is_no_value_of_a_recipe(marker, field):
    recipe = recipes.get("pp_liteseg_t_synthetic")
    with pytest.raises(ValueError, match=f"{field} takes"):
        recipes.override(recipe, {field: CODE.format(marker=marker)})
    changed = recipes.override(recipe, {"note": CODE.format(marker=marker)})
    assert changed.note.startswith("__import__")
