from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import JUDGE
from made import made_run
from scipy import stats

from fieldgap.analysis.ablation import ablation_table
from fieldgap.analysis.contrasts import INTERACTION, MAIN, comparisons, contrast, on_grid
from fieldgap.analysis.effects import DEPENDS, OUTCOMES, effects, judge, pairs, score_failures
from fieldgap.analysis.inference import BETTER, INCONCLUSIVE, LEVEL, WORSE, noncentrality

AXES = ["init", "warmup_epochs", "seed"]
LEVELS = {"init": ["kaiming_normal", "xavier_normal"], "warmup_epochs": [0, 3]}
# By init, warm-up and seed. Differences by init, at warm-up 0: 0.01 0.02 0.03; at 3: 0.03 0.02 0.07.
TEST_IOU = np.array([[[0.70, 0.72, 0.74], [0.71, 0.74, 0.73]], [[0.71, 0.74, 0.77], [0.74, 0.76, 0.80]]])


def table_of(values: np.ndarray, outcome: str = "test_iou", **levels: list[Any]) -> pd.DataFrame:
    """Return the ablation table of runs with these values (levels of each axis, seeds) of an outcome."""
    axes = {**(levels or LEVELS), "seed": list(range(values.shape[-1]))}
    points = [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
    runs = [made_run(point, **{outcome: value}) for point, value in zip(points, values.ravel(), strict=True)]
    return ablation_table(runs, JUDGE)


def effects_on(table: pd.DataFrame, axes: list[str] = AXES, outcome: str = "test_iou") -> pd.DataFrame:
    rows = effects(score_failures(table, axes), axes, JUDGE)
    return rows[rows["outcome"] == outcome].set_index("axis")


def test_main_effects_and_interaction_of_a_grid_computed_by_hand() -> None:
    """Seed means by init: 0.02, 0.02, 0.05; by warm-up: 0.02, 0.02, 0.01. Interaction: 0.02, 0.00, 0.04."""
    rows = effects_on(table_of(TEST_IOU))
    for axis, values in (
        ("init", [0.02, 0.02, 0.05]),
        ("warmup_epochs", [0.02, 0.02, 0.01]),
        ("init x warmup_epochs", [0.02, 0.00, 0.04]),
    ):
        row, error = rows.loc[axis], np.std(values, ddof=1) / math.sqrt(3)
        assert (row["pairs"], row["seeds"], row["lost"]) == (3 if "x" in axis.split() else 6, 3, 0)
        assert row["difference"] == pytest.approx(np.mean(values))
        assert (row["low"], row["high"]) == pytest.approx(
            (np.mean(values) - 4.302653 * error, np.mean(values) + 4.302653 * error), abs=1e-8
        )
        assert row["p"] == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
        assert row["detectable"] == pytest.approx(noncentrality(3, LEVEL / 18) * error)
    assert rows.loc["init x warmup_epochs", "kind"] == INTERACTION
    assert (rows.loc["init", "from"], rows.loc["init", "to"]) == ("kaiming_normal", "xavier_normal")
    assert rows.loc["init x warmup_epochs", "to"] == "xavier_normal, 3"


def test_every_pair_is_listed_with_what_its_runs_share() -> None:
    rows = pairs(score_failures(table_of(TEST_IOU), AXES), AXES)
    rows = rows[(rows["outcome"] == "test_iou") & (rows["axis"] == "warmup_epochs")].set_index("pair")
    assert len(rows) == 6
    assert rows.loc["init xavier_normal, seed 2", "difference"] == pytest.approx(0.03)
    assert rows.loc["init kaiming_normal, seed 2", "difference"] == pytest.approx(-0.01)
    assert rows.loc["init kaiming_normal, seed 2", "seed"] == 2


def test_each_level_is_compared_with_the_first() -> None:
    values = np.array([[0.5, 0.51], [0.6, 0.62], [0.9, 0.93]])
    rows = effects_on(table_of(values, lr=[0.1, 0.01, 1.0]), ["lr", "seed"])
    assert rows[["from", "to"]].to_numpy().tolist() == [["0.1", "0.01"], ["0.1", "1.0"]]
    assert rows["difference"].tolist() == pytest.approx([0.105, 0.41])


def test_a_larger_iou_is_better_while_a_larger_gap_and_more_epochs_are_worse() -> None:
    steady = TEST_IOU[:, :, :1] + np.array([0, 1e-5, 2e-5]) * np.arange(4).reshape(2, 2, 1)
    for outcome, verdict in (("test_iou", BETTER), ("gap_test_iou", WORSE)):
        assert effects_on(table_of(steady, outcome), outcome=outcome).loc["init", "verdict"] == verdict
    table = table_of(TEST_IOU).assign(epochs_to_level=np.round(steady.ravel() * 1e5))
    assert effects_on(table, outcome="epochs_to_level").loc["init", "verdict"] == WORSE


def test_a_grid_of_seeds_only_has_no_effects() -> None:
    table = score_failures(table_of(TEST_IOU).head(3), ["seed"])
    assert effects(table, ["seed"], JUDGE).empty
    assert pairs(table, ["seed"]).empty
    assert table["variant"].tolist() == ["all runs"] * 3


def test_an_interaction_is_neither_better_nor_worse() -> None:
    crossed = TEST_IOU + np.array([[0, 0], [0, 0.1]])[..., None] + np.zeros(3)
    crossed[1, 1] = crossed[1, 0] + crossed[0, 1] - crossed[0, 0] + [0.1, 0.1001, 0.1002]
    assert effects_on(table_of(crossed)).loc["init x warmup_epochs", "verdict"] == DEPENDS


def with_failures(status: str) -> pd.DataFrame:
    """Return the grid computed by hand, in which seed 1 of Xavier without warm-up diverged or is missing."""
    table = table_of(TEST_IOU)
    lost = table["run"] == "xavier_normal-0-1"
    if status == "missing":
        return table[~lost]
    table.loc[lost, "status"] = status
    table.loc[lost, "epochs_to_level"] = 5
    return table


@pytest.mark.parametrize("status", ["diverged", "missing"])
def test_a_failed_run_scores_an_iou_of_zero(status: str) -> None:
    rows = effects_on(with_failures(status))
    expected = [0.02, (0.00 - 0.72 + 0.02) / 2, 0.05]
    assert rows.loc["init", "difference"] == pytest.approx(np.mean(expected))
    assert rows.loc["init", "pairs"] == 6
    assert rows.loc["init", "seeds"] == 3


@pytest.mark.parametrize("status", ["diverged", "missing"])
def test_a_failed_run_has_no_gap_and_leaves_its_variant_without_a_verdict(status: str) -> None:
    """Xavier's gap is smaller in every other pair, so dropping the failed one would call it better."""
    table = with_failures(status)
    table["gap_test_iou"] = np.where(table["init"] == "xavier_normal", 0.05, 0.3) + 1e-6 * table["seed"] ** 2
    table.loc[table["warmup_epochs"] == 3, "gap_test_iou"] += 1e-6 * table["seed"] * (table["init"] == "xavier_normal")
    rows = effects_on(table, outcome="gap_test_iou")
    assert rows.loc["init", "p_holm"] < LEVEL
    assert (rows.loc["init", "lost"], rows.loc["init", "seeds"], rows.loc["init", "verdict"]) == (1, 2, INCONCLUSIVE)


def test_a_variant_that_always_fails_is_worse() -> None:
    table = table_of(TEST_IOU)
    table.loc[table["init"] == "xavier_normal", "status"] = "diverged"
    assert effects_on(table).loc["init", "verdict"] == WORSE


def test_scores_are_in_the_order_of_the_grid_whatever_the_order_of_the_runs() -> None:
    table = table_of(TEST_IOU)
    shuffled = pd.concat([table.iloc[:1], table.iloc[:0:-1]])
    rows = score_failures(shuffled, AXES)
    assert on_grid(rows["test_iou"].to_numpy(), {axis: rows[axis].unique() for axis in AXES[:2]}).shape == (2, 2, 3)
    assert effects(rows, AXES, JUDGE)["pairs"].tolist() == [6] * 12 + [3] * 6
    missing = score_failures(with_failures("missing"), AXES)
    assert missing.loc[missing["status"] == "missing", "variant"].tolist() == ["init xavier_normal, warmup_epochs 0"]


def simulated(trials: int, seeds: int) -> np.ndarray:
    """Return correlated outcomes (trials, outcomes, 2, 2, seeds) on which no axis has any effect."""
    random = np.random.default_rng(11)

    def noise(*shape: int) -> np.ndarray:
        common, own = random.normal(size=(trials, 1, *shape)), random.normal(size=(trials, len(OUTCOMES), *shape))
        return common + own

    return noise(1, 1, seeds) + noise(2, 1, seeds) + noise(1, 2, seeds) + noise(2, 2, seeds)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_at_most_five_in_a_hundred_grids_without_any_effect_report_one(seeds: int) -> None:
    """2,000 whole grids: all main effects and interactions on all outcomes, as effects() tests them."""
    grid = simulated(2000, seeds)
    compared = comparisons(LEVELS)
    means = np.concatenate([contrast(grid, comparison, 2).mean(-2) for comparison in compared], 1)
    better = np.array([outcome.more_is_better for outcome in OUTCOMES.values()] * len(compared))
    verdicts = judge(means, np.full(len(better), 0.01), better)["verdict"]
    main = np.repeat([comparison.kind == MAIN for comparison in compared], len(OUTCOMES))
    reported = np.isin(verdicts[:, main], [BETTER, WORSE]).any(1)
    assert 0 < reported.mean() <= LEVEL


def test_each_outcome_has_its_own_margin() -> None:
    judged = dataclasses.replace(JUDGE, margin=0.125, margin_epochs=2.5)
    rows = effects(score_failures(table_of(TEST_IOU), AXES), AXES, judged)
    assert dict(zip(rows["outcome"], rows["margin"], strict=True)) == dict.fromkeys(OUTCOMES, 0.125) | {
        "epochs_to_level": 2.5
    }
