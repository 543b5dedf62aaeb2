"""What people open in a spreadsheet holds no formulas, and what stages read back is what was there."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import JUDGE, NORMALIZE, SPLIT, TINY, data_in, run_training
from hypothesis import given
from hypothesis import strategies as st

from fieldgap.analysis.runs import read_run
from fieldgap.base import cells
from fieldgap.base.files import read_rows, write_rows
from fieldgap.data import normalize, split
from fieldgap.evaluation import evaluate
from fieldgap.report import report
from fieldgap.settings.sections import Evaluate

EVIL = "=HYPERLINK(A1)"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1"])
def test_what_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    assert cells.escaped(text) == f"'{text}"


@pytest.mark.parametrize("value", ["scene_000", "a=b", "'tis", "", -1, -0.5, 3, None, True])
def test_other_values_stay(value: object) -> None:
    assert cells.escaped(value) == value


@given(st.text("'=+-@\t\rab1", max_size=6))
def test_no_two_texts_are_written_alike(text: str) -> None:
    written = str(cells.escaped(text))
    assert cells.plain(written) == text
    assert not written.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_rows_are_read_as_they_were_given(tmp_path: Path) -> None:
    rows = [{"scene": EVIL, "=x": "-2"}, {"scene": "'-", "=x": "b"}]
    write_rows(tmp_path / "t.csv", rows)
    assert read_rows(tmp_path / "t.csv") == rows
    assert (tmp_path / "t.csv").read_text() == "scene,'=x\n'=HYPERLINK(A1),'-2\n''-,b\n"


def test_scenes_of_any_name_reach_the_report(scenes: Path, tmp_path: Path) -> None:
    """Numbers with leading zeros and the word nan are names, too."""
    shutil.copytree(scenes / "images", tmp_path / "images")
    shutil.copytree(scenes / "masks", tmp_path / "masks")
    renamed = {"scene_000": EVIL, "scene_001": "-63.5_12", "scene_002": "@a", "scene_003": "007", "scene_004": "nan"}
    for old, new in renamed.items():
        (tmp_path / f"images/{old}.png").rename(tmp_path / f"images/{new}.png")
        (tmp_path / f"masks/{old}_mask.png").rename(tmp_path / f"masks/{new}_mask.png")
    split.run(data_in(tmp_path), tmp_path / "split.csv", SPLIT)
    normalize.run(data_in(tmp_path), tmp_path / "split.csv", scenes / "fresh.npz", tmp_path / "tiles", NORMALIZE)
    runs = tmp_path / "runs"
    run_training(tmp_path / "tiles", runs / "0", TINY)
    evaluate.run(tmp_path / "tiles", runs / "0", Evaluate(device="cpu"))
    names = {row["scene"] for row in read_rows(tmp_path / "split.csv")}
    assert set(renamed.values()) < names
    assert set(read_run(runs / "0", {}).scenes["scene"]) == names
    report.run(runs, tmp_path / "tiles", tmp_path / "reports", {"0": {"seed": 0}}, JUDGE, "")
    for path in tmp_path.rglob("*.csv"):
        with path.open(newline="") as file:
            table = [cell for row in csv.reader(file) for cell in row]
        text = [cell for cell in table if pd.isna(pd.to_numeric(cell, errors="coerce"))]
        assert not [cell for cell in text if cell.startswith(("=", "+", "-", "@"))], path
