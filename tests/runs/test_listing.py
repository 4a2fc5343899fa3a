"""What `segbook list` and `segbook show` say about runs."""

import pytest

from segbook.runs import listing
from segbook.runs.folder import RunFolder

RESULT = {
    "miou": 0.5234, "policy": "dataset", "split": "val", "classes": ["Sky", "Pole"],
    "iou": [0.9, None], "test": {"miou": 0.481, "iou": [0.8, 0.125]},
}  # fmt: skip


@pytest.fixture
def finished(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGBOOK_RUNS", str(tmp_path))
    run = RunFolder.create("done", kind="train", recipe={"name": "r", "lr": 0.1})
    run.update(status="finished", steps=50, result=RESULT, seconds_total=192.0)
    run.append_metrics(step=40, val_miou=0.4, policy="dataset")
    run.append_metrics(step=50, loss=1.0)
    return run


def test_a_row_takes_the_newest_step_and_the_result(finished):
    row = listing.row(finished)
    assert row[1:7] == ("train", "finished", 50, 50, 0.5234, "dataset")
    assert "done" in listing.table([row])
    assert "50/50" in listing.table([row])
    assert "52.3" in listing.table([row])


def test_a_run_on_the_way_shows_its_newest_evaluation(finished):
    finished.update(result=None)
    assert listing.row(finished).miou == 0.4
    with open(finished.path / "metrics.jsonl", "a") as file:
        file.write("x" * 2 * listing.TAIL_BYTES + '\n{"step": 51}\n{"st')
    assert listing.row(finished).step == 51


def test_a_saved_step_that_was_not_measured_counts(finished):
    finished.update(status="stopped", step=52)
    assert listing.row(finished).step == 52
    assert "52 of 50" in listing.page(finished)


def test_a_damaged_run_does_not_hide_the_others(finished, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.json").write_text("{")
    statuses = {row.name: row.status for row in listing.rows(tmp_path)}
    assert statuses == {"bad": "damaged", finished.name: "finished"}
    assert listing.table(listing.rows(tmp_path)).count("\n") == 2
    assert "no runs yet" in listing.table(listing.rows(tmp_path / "none"))


def test_a_page_has_result_classes_files_and_what_to_do(finished):
    page = listing.page(finished)
    assert "mIoU 52.3 (dataset, val); test 48.1" in page
    assert "3 min 12 s" in page
    lines = [line.split() for line in page.splitlines()]
    assert ["Sky", "90.0", "80.0"] in lines
    assert ["Pole", "-", "12.5"] in lines
    assert any(line[:1] == ["metrics.jsonl"] for line in lines)
    assert ".reserve" not in page
    assert "segbook resume" not in page
    finished.update(status="running")  # by nobody
    page = listing.page(finished)
    assert "interrupted" in page
    assert f"segbook resume {finished.name}   (from the start: there is no checkpoint yet)" in page
    finished.update(step=30)
    assert f"segbook resume {finished.name}   (from step 30" in listing.page(finished)


def test_a_run_whose_data_moved_is_told_how_to_go_on(finished, tmp_path):
    recipe = finished.read()["recipe"]
    finished.update(status="interrupted", step=30, recipe=recipe | {"data_root": str(tmp_path)})
    assert "--set" not in listing.page(finished)
    finished.update(recipe=recipe | {"data_root": "/gone\n"})
    advice = listing.advice(finished, finished.read())
    assert f"segbook resume {finished.name} --set data_root=FOLDER   (from step 30" in advice
    assert advice.endswith(r"they were in /gone\n")


def test_errors_and_results_are_spelt():
    cell = {"name": "KeyError", "message": "'x'", "cell": 4, "execution_count": 2}
    assert listing.format_run_error(cell) == "KeyError in cell 4 (In [2]): 'x'"
    assert listing.format_run_error({"name": "OSError", "message": "m"}) == "OSError: m"
    assert listing.format_run_error("text") == "text"
    assert listing.format_run_error(None) is None
    assert listing.format_result({}) is None
    forged = {"miou": 0.5, "policy": "a\nrun x is finished", "split": "val"}
    assert "\n" not in (listing.format_result(forged) or "")
