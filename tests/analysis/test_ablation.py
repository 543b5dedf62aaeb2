from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
from conftest import JUDGE
from made import history, made_run

from fieldgap.analysis.ablation import ablation_table, gap_table, naive_gaps, variant_table
from fieldgap.analysis.effects import score_failures

AXES = ["init", "warmup_epochs", "seed"]


RUNS = [
    made_run({"init": init, "warmup_epochs": warmup, "seed": seed}, test_iou=0.8 + 0.001 * seed**2, val_iou=0.6)
    for init, warmup, seed in itertools.product(["kaiming_normal", "xavier_normal"], [0, 3], [0, 1, 2])
]


def test_the_gap_is_validation_error_minus_training_error() -> None:
    run = dataclasses.replace(RUNS[0], history=history([0.75, 0.875], [0.75, 0.75]))
    table = gap_table([run])
    columns = ["train_error", "val_error", "gap", "background_gap", "loss_gap", "naive_gap"]
    expected = [[0.25, 0.25, 0, 0, 0, -0.1], [0.125, 0.25, 0.125, 0.0625, 0.125, 0.025]]
    np.testing.assert_allclose(table[columns], expected, atol=1e-12)


def test_a_run_without_an_epoch_has_no_row_in_the_gap_table() -> None:
    lost = dataclasses.replace(RUNS[0], history=history([], []), status="diverged")
    assert set(gap_table([lost, RUNS[1]])["run"]) == {RUNS[1].name}
    assert list(gap_table([lost]).columns) == list(gap_table(RUNS[:1]).columns)


def test_the_ablation_table_has_one_row_per_run() -> None:
    table = ablation_table(RUNS, JUDGE)
    assert table["run"].is_unique
    assert len(table) == 12
    assert table.loc[0, [*AXES, "status"]].tolist() == ["kaiming_normal", 0, 0, "finished"]
    assert table["test_iou"].tolist() == [run.metrics["test_iou"] for run in RUNS]


def test_the_ablation_table_keeps_the_measured_scores_of_a_diverged_run() -> None:
    table = ablation_table([dataclasses.replace(RUNS[0], status="diverged"), *RUNS[1:]], JUDGE)
    assert table.loc[0, ["status", "test_iou"]].tolist() == ["diverged", 0.8]


def test_variants_have_means_and_sample_deviations_over_seeds() -> None:
    row = variant_table(score_failures(ablation_table(RUNS, JUDGE), AXES), ["test_iou"]).iloc[0]
    assert row["variant"] == "init kaiming_normal, warmup_epochs 0"
    assert (row["seeds"], row["failed"]) == (3, 0)
    assert row["test_iou_mean"] == pytest.approx(np.mean([0.8, 0.801, 0.804]))
    assert row["test_iou_std"] == pytest.approx(np.std([0.8, 0.801, 0.804], ddof=1))


def test_a_failed_run_shows_in_its_variant() -> None:
    table = ablation_table([dataclasses.replace(RUNS[0], status="diverged"), *RUNS[1:]], JUDGE)
    row = variant_table(score_failures(table, AXES), ["test_iou", "gap_test_iou"]).iloc[0]
    assert (row["seeds"], row["failed"]) == (3, 1)
    assert row["test_iou_mean"] == pytest.approx(np.mean([0, 0.801, 0.804]))
    assert row["gap_test_iou_mean"] == pytest.approx(0.1)


def test_naive_gaps_are_means_over_runs_of_their_first_and_last_epochs() -> None:
    """The running loss is 0.1 above the training loss, so the naive gap is 0.1 smaller than the true one."""
    short = dataclasses.replace(RUNS[0], history=history([0.5, 0.75], [0.5, 0.5]))
    long = dataclasses.replace(RUNS[1], history=history([0.25, 0.5, 1.0], [0.0, 0.5, 0.5]))
    expected = {"first_loss_gap": 0.125, "first_naive_gap": 0.025, "last_loss_gap": 0.375, "last_naive_gap": 0.275}
    assert naive_gaps(gap_table([short, long])) == pytest.approx(expected)


def test_tables_keep_the_order_of_the_grid() -> None:
    assert pd.unique(ablation_table(RUNS, JUDGE)["variant"]).tolist()[:2] == [
        "init kaiming_normal, warmup_epochs 0",
        "init kaiming_normal, warmup_epochs 3",
    ]
