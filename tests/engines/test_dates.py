"""No date on disk changes what either engine does: bytes are compared."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from conftest import call
from projects import digests
from two_engines import SMALLEST, configure, draw_own

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_tools")]
SNAKEMAKE = ("snakemake", "--cores", "2")
TOMORROW, THEN = time.time() + 24 * 3600, 2**31  # In the year 2038.


@pytest.fixture
def small(project: Path) -> Path:
    for block, values in SMALLEST.items():
        configure(project, block, **values)
    return project


def date(paths: Iterable[Path], seconds: float) -> None:
    for path in paths:
        os.utime(path, (seconds, seconds))


def made(project: Path) -> list[Path]:
    return [project / path for path in digests(project)]


def test_outputs_of_the_future_are_made_anew_when_a_value_changes(small: Path) -> None:
    call(small, *SNAKEMAKE)
    for reports, (margin, seconds) in enumerate(((0.02, TOMORROW), (0.03, THEN), (0.04, 0)), start=2):
        date(made(small), seconds)
        configure(small, "report", margin=margin)
        call(small, *SNAKEMAKE)
        log = [json.loads(line) for line in (small / ".fieldgap/log.jsonl").read_text().splitlines()]
        assert [line["how"] for line in log if line["stage"] == "report"] == ["worked"] * reports
    date(made(small), TOMORROW)
    (small / "reports/effects.csv").unlink()
    configure(small, "train", lr=0.05)
    call(small, *SNAKEMAKE)
    assert (small / "reports/effects.csv").exists()
    assert "Nothing to be done" in call(small, *SNAKEMAKE).stderr


def test_inputs_of_the_future_stop_no_job(small: Path) -> None:
    draw_own(small)
    configure(small, "data", images="own/images", masks="own/masks")
    inputs = [*(small / "own").rglob("*.png"), *(small / "src").rglob("*.py"), small / "params/scenes.csv"]
    date(inputs, THEN)
    call(small, *SNAKEMAKE)
    before = digests(small)
    assert "Nothing to be done" in call(small, *SNAKEMAKE).stderr
    date(made(small), TOMORROW)
    configure(small, "train", lr=0.05)
    call(small, *SNAKEMAKE)
    assert digests(small) != before


def test_files_of_one_date_and_of_the_epoch_are_nothing_to_do_for_either_engine(small: Path) -> None:
    call(small, *SNAKEMAKE)
    for seconds in (0, 1_700_000_000):
        date([path for path in small.rglob("*") if path.is_file() and ".git/" not in str(path)], seconds)
        assert "Nothing to be done" in call(small, *SNAKEMAKE).stderr
        assert "Running stage" not in call(small, "dvc", "repro").stdout


def test_outputs_of_the_future_are_made_anew_when_an_earlier_file_is_missing_too(small: Path) -> None:
    call(small, *SNAKEMAKE)
    configure(small, "train", lr=0.05)
    call(small, *SNAKEMAKE)
    wanted = digests(small)
    configure(small, "train", lr=0.1)
    call(small, *SNAKEMAKE)
    date(made(small), TOMORROW)
    (small / "data/split.csv").unlink()
    configure(small, "train", lr=0.05)
    call(small, *SNAKEMAKE)
    assert digests(small) == wanted
