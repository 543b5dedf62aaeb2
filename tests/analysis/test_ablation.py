from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from conftest import JUDGE
from made import history, made

from fieldgap.analysis.ablation import ablation, epochs_to, gap_table, level_to_reach, variant_of, variants
from fieldgap.analysis.effects import counted
from fieldgap.analysis.runs import Finished, leaves

AXES = ["init", "warmup_epochs", "seed"]


def changed(run: Finished, **values: object) -> Finished:
    return Finished(**{**run.__dict__, **values})  # type: ignore[arg-type]


RUNS = [
    made({"init": init, "warmup_epochs": warmup, "seed": seed}, test_iou=0.8 + 0.001 * seed**2, val_iou=0.6)
    for init, warmup, seed in itertools.product(["kaiming_normal", "xavier_normal"], [0, 3], [0, 1, 2])
]


def test_the_gap_is_validation_error_minus_training_error() -> None:
    run = changed(RUNS[0], history=history([0.75, 0.875], [0.75, 0.75]))
    table = gap_table([run])
    columns = ["train_error", "val_error", "gap", "background_gap", "loss_gap", "naive_gap"]
    expected = [[0.25, 0.25, 0, 0, 0, -0.1], [0.125, 0.25, 0.125, 0.0625, 0.125, 0.025]]
    np.testing.assert_allclose(table[columns], expected, atol=1e-12)


def test_a_run_without_an_epoch_has_no_row_of_the_gap() -> None:
    lost = changed(RUNS[0], history=history([], []), status="diverged")
    assert set(gap_table([lost, RUNS[1]])["run"]) == {RUNS[1].name}
    assert list(gap_table([lost]).columns) == list(gap_table(RUNS[:1]).columns)


def test_ablation_has_one_tidy_row_a_run() -> None:
    table = ablation(RUNS, JUDGE)
    assert table["run"].is_unique
    assert len(table) == 12
    assert table.loc[0, [*AXES, "status"]].tolist() == ["kaiming_normal", 0, 0, "finished"]
    assert table["test_iou"].tolist() == [run.metrics["test_iou"] for run in RUNS]


def test_a_diverged_run_keeps_what_was_measured_of_it_in_the_table() -> None:
    table = ablation([changed(RUNS[0], status="diverged"), *RUNS[1:]], JUDGE)
    assert table.loc[0, ["status", "test_iou"]].tolist() == ["diverged", 0.8]


def test_the_level_is_a_share_of_the_median_of_what_finished() -> None:
    runs = [made({"seed": i}, val_iou=iou) for i, iou in enumerate((0.5, 0.6, 0.8))]
    assert level_to_reach(runs, 0.5) == pytest.approx(0.3)
    assert level_to_reach([changed(runs[0], status="diverged"), *runs[1:]], 0.5) == pytest.approx(0.35)


def test_epochs_to_a_level_are_counted_to_the_first_and_beyond_the_last() -> None:
    run = changed(RUNS[0], history=history([0.1] * 4, [0.2, 0.5, 0.4, 0.6]))
    assert [epochs_to(level, run) for level in (0.1, 0.5, 0.55, 0.7)] == [1, 2, 4, 5]
    assert epochs_to(0.1, changed(run, status="diverged")) == 5


def test_variants_are_means_and_sample_deviations_over_seeds() -> None:
    row = variants(counted(ablation(RUNS, JUDGE), AXES), ["test_iou"]).iloc[0]
    assert row["variant"] == "init kaiming_normal, warmup_epochs 0"
    assert (row["seeds"], row["failed"]) == (3, 0)
    assert row["test_iou_mean"] == pytest.approx(np.mean([0.8, 0.801, 0.804]))
    assert row["test_iou_std"] == pytest.approx(np.std([0.8, 0.801, 0.804], ddof=1))


def test_a_failed_run_shows_in_its_variant() -> None:
    table = ablation([changed(RUNS[0], status="diverged"), *RUNS[1:]], JUDGE)
    row = variants(counted(table, AXES), ["test_iou", "gap_test_iou"]).iloc[0]
    assert (row["seeds"], row["failed"]) == (3, 1)
    assert row["test_iou_mean"] == pytest.approx(np.mean([0, 0.801, 0.804]))
    assert row["gap_test_iou_mean"] == pytest.approx(0.1)


def test_variants_are_named_by_all_axes_but_the_seed() -> None:
    assert variant_of({"init": "orthogonal", "seed": 1}) == "init orthogonal"
    assert variant_of({"seed": 1}) == "all runs"


def test_leaves_join_nested_keys() -> None:
    assert dict(leaves({"epoch": 2, "gap": {"val": {"iou": 0.1}}})) == {"epoch": 2, "gap_val_iou": 0.1}


def test_tables_keep_the_order_of_the_grid() -> None:
    assert pd.unique(ablation(RUNS, JUDGE)["variant"]).tolist()[:2] == [
        "init kaiming_normal, warmup_epochs 0",
        "init kaiming_normal, warmup_epochs 3",
    ]
