"""The population gap of a grid made by hand: two inits, two seeds, and two scenes in each split."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pytest
from conftest import JUDGE
from made import COUNTS, made_run, scene_counts

from fieldgap.analysis.population import over_scenes, section
from fieldgap.analysis.runs import EvaluatedRun
from fieldgap.analysis.tables import analyse

HALF = 12.706204736 * 0.01  # Student's t of one degree times the standard error of two values 0.02 apart.
GAPS = {  # init, seed -> gaps on val, test and fresh scenes
    ("kaiming_normal", 0): (0.10, 0.02, 0.06),
    ("kaiming_normal", 1): (0.14, 0.06, 0.08),
    ("xavier_normal", 0): (0.10, 0.02, 0.05),
    ("xavier_normal", 1): (0.10, 0.02, 0.09),
}
EASY, HARD = 50 / 60, 55 / 70  # The IoUs of the two scenes of COUNTS.


def of_splits(counts: Mapping[str, Sequence[Sequence[int]]] = COUNTS) -> pd.DataFrame:
    """Return the rows of scenes.csv with these scenes in each split."""
    return pd.concat([scene_counts(counts).assign(split=split) for split in ("val", "test", "fresh")])


def run_of(init: str, seed: int, status: str = "finished") -> EvaluatedRun:
    gaps = dict(zip(("val", "test", "fresh"), GAPS[init, seed], strict=True))
    scores = {f"gap_{split}_iou": gap for split, gap in gaps.items()}
    scores |= {f"{split}_iou": 0.9 - gap for split, gap in gaps.items()}
    run = made_run({"init": init, "seed": seed}, status, train_iou=0.9, **scores)
    return dataclasses.replace(run, scenes=of_splits())


def grid(**status: str) -> list[EvaluatedRun]:
    points = itertools.product(["kaiming_normal", "xavier_normal"], [0, 1])
    return [run_of(init, seed, status.get(f"{init}_{seed}", "finished")) for init, seed in points]


def section_of(**status: str) -> dict[str, Any]:
    values = section(analyse(grid(**status), JUDGE))
    assert values
    return values


def test_each_variant_has_a_population_gap_and_the_errors_of_its_estimates() -> None:
    first, second = section_of()["variants"]
    assert first["variant"] == "init kaiming_normal"
    assert first["fresh"] == pytest.approx({"mean": 0.07, "low": 0.07 - HALF, "high": 0.07 + HALF})
    assert first["val_off"] == pytest.approx({"mean": 0.05, "low": 0.05 - HALF, "high": 0.05 + HALF})
    assert first["test_off"] == pytest.approx({"mean": -0.03, "low": -0.03 - HALF, "high": -0.03 + HALF})
    assert second["test_off"] == pytest.approx({"mean": -0.05, "low": -0.05 - 2 * HALF, "high": -0.05 + 2 * HALF})


def test_over_two_scenes_the_bounds_are_the_gaps_of_the_easy_and_the_hard_one() -> None:
    """Each of two scenes comes up twice in a quarter of the draws, which lies beyond the bounds of 95%."""
    gap = over_scenes(grid(), "fresh")
    assert gap == pytest.approx({"scenes": 2, "mean": 0.07, "low": 0.9 - EASY, "high": 0.9 - HARD})


def test_runs_with_different_scenes_have_no_bounds_over_scenes() -> None:
    first, *others = grid()
    other = {"north": COUNTS["north"], "east": COUNTS["south"]}
    scenes = pd.concat([of_splits()[lambda rows: rows["split"] != "val"], scene_counts(other).assign(split="val")])
    runs = [dataclasses.replace(first, scenes=scenes), *others]
    gap = over_scenes(runs, "val")
    assert math.isnan(gap["low"])
    assert math.isnan(gap["high"])
    assert not math.isnan(over_scenes(runs, "test")["low"])


def test_steps_of_axes_are_looked_at_on_fresh_scenes() -> None:
    (row,) = section_of()["steps"]
    assert row["effect"] == "init: xavier_normal against kaiming_normal"
    assert row["val_iou"] == pytest.approx({"mean": 0.02, "low": 0.02 - 2 * HALF, "high": 0.02 + 2 * HALF})
    assert row["fresh_iou"] == pytest.approx({"mean": 0, "low": -HALF, "high": HALF}, abs=1e-9)
    assert row["gap_fresh_iou"] == pytest.approx({"mean": 0, "low": -HALF, "high": HALF}, abs=1e-9)


def test_a_diverged_run_scores_zero_and_has_no_gap() -> None:
    values = section_of(xavier_normal_1="diverged")
    assert values["variants"][1]["fresh"]["mean"] == pytest.approx(0.05)
    assert values["overall"]["fresh"]["mean"] == pytest.approx((0.06 + 0.08 + 0.05) / 3)
    (row,) = values["steps"]
    assert row["fresh_iou"]["mean"] == pytest.approx((0.01 - 0.82) / 2)
    assert row["gap_fresh_iou"]["mean"] == pytest.approx(-0.01)
    assert math.isnan(row["gap_fresh_iou"]["low"])
    assert section(analyse(grid(**{f"{i}_{s}": "diverged" for i, s in GAPS}), JUDGE)) is None


def test_without_fresh_scenes_there_is_no_section() -> None:
    assert section(analyse([made_run({"init": "orthogonal", "seed": seed}) for seed in range(2)], JUDGE)) is None
