"""Files of a run that a copy cut off, or that someone edited, under a report by hand."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, run_training

from fieldgap.analysis.runs import read_run
from fieldgap.base.errors import InputError
from fieldgap.evaluation import evaluate
from fieldgap.settings.sections import Evaluate

TABLES = ("history.csv", "steps.csv", "scenes.csv", "calibration.csv")
OBJECTS = ("config.json", "status.json", "metrics.json")


@pytest.fixture(scope="module")
def whole(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, trained and evaluated. Read only."""
    run = tmp_path_factory.mktemp("runs") / "0"
    run_training(tiles, run, TINY)
    evaluate.run(tiles, run, Evaluate(device="cpu"))
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "0"))


def refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_run(path.parent, {"seed": 0})
    message = str(error.value)
    assert str(path) in message or f"{path.parent}: was trained with" in message, content[:100]
    assert message.endswith(("run the stage that makes it again", "train it again"))
    assert "\n" not in message


def test_a_whole_run_is_read(run: Path) -> None:
    assert read_run(run, {"seed": 0}).status == "finished"


@pytest.mark.parametrize("name", [*TABLES, *OBJECTS])
def test_a_file_of_another_kind_is_refused(run: Path, name: str) -> None:
    others = [path.read_bytes() for path in run.iterdir() if path.name != name]
    for content in (b"", bytes(99), b"\x89PNG\r\n\xff\xfe", b"[]", b"3\n", b"null", b"[" * 100_000, *others):
        refused(run / name, content)
    (run / name).unlink()
    (run / name).mkdir()
    with pytest.raises(InputError, match=name):
        read_run(run, {"seed": 0})


@pytest.mark.parametrize("name", [*TABLES, *OBJECTS])
def test_a_file_that_is_cut_off_anywhere_is_refused(run: Path, name: str) -> None:
    content = (run / name).read_bytes()
    ends = {round(len(content) * share / 40) for share in range(40)}
    if name in TABLES:
        ends |= {at + 1 for at, byte in enumerate(content[:-1]) if byte == ord("\n")}
    for end in ends:
        refused(run / name, content[:end])


def edited(content: bytes, column: str, value: str | None) -> bytes:
    """Return a table with another value in a row, or without the column."""
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    if value is None:
        rows = [{name: cell for name, cell in row.items() if name != column} for row in rows]
    else:
        rows[1][column] = value
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_without_a_column_or_a_number_is_refused(run: Path, name: str) -> None:
    content = (run / name).read_bytes()
    for column in content.decode().partition("\n")[0].split(","):
        refused(run / name, edited(content, column, None))
        if column not in ("split", "scene", "truth", "predicted"):
            for value in ("abc", "", "nan", "inf"):
                refused(run / name, edited(content, column, value))


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("metrics.json", lambda tree: tree.pop("status")),
        ("metrics.json", lambda tree: tree.update(status="killed")),
        ("metrics.json", lambda tree: tree.pop("test")),
        ("metrics.json", lambda tree: tree["gap"].pop("fresh")),
        ("metrics.json", lambda tree: tree["val"].update(iou="0.5")),
        ("metrics.json", lambda tree: tree["val"].update(iou=[0.5])),
        ("metrics.json", lambda tree: tree["val"].update(iou=10**400)),
        ("config.json", lambda tree: tree.update(epochs=None)),
        ("status.json", lambda tree: tree.update(packages=[])),
        ("status.json", lambda tree: tree.update(machine="cpu")),
        ("status.json", lambda tree: tree.update(key=None)),
        ("status.json", lambda tree: tree.update(step="30")),
    ],
)
def test_an_object_with_a_value_of_another_kind_is_refused(
    run: Path, name: str, edit: Callable[[dict[str, object]], object]
) -> None:
    tree = json.loads((run / name).read_text())
    edit(tree)
    refused(run / name, json.dumps(tree).encode())
