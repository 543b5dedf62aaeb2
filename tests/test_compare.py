from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fieldgap.compare import OUTCOMES, ablation, effect, effects, gap_table, holm, pairs, variant_of, variants
from fieldgap.runs import Finished, leaves

AXES = ["init", "warmup_epochs", "seed"]


def finished(**axes: Any) -> Finished:
    """A run whose numbers follow from its axes: warm-up adds 0.02 to test IoU, xavier 0.01, and seeds scatter."""
    iou = (
        0.8 + 0.02 * (axes["warmup_epochs"] > 0) + 0.01 * (axes["init"] == "xavier_normal") + 0.001 * axes["seed"] ** 2
    )
    wobble = 0.001 * (axes["seed"] == 1) * (axes["warmup_epochs"] > 0)
    metrics = dict.fromkeys(OUTCOMES, 0.5) | {"train_iou": 0.9, "test_iou": iou + wobble, "epoch": 2}
    history = pd.DataFrame(
        {
            "epoch": [1, 2],
            "lr": [0.1, 0.05],
            "train_loss": [0.5, 0.25],
            "train_iou": [0.75, 0.875],
            "train_background_iou": [0.5, 0.625],
            "val_loss": [0.5, 0.5],
            "val_iou": [0.75, 0.75],
            "val_background_iou": [0.5, 0.5],
            "running_loss": [0.75, 0.5],
        }
    )
    return Finished("-".join(map(str, axes.values())), Path(), axes, {}, history, pd.DataFrame(), metrics)


RUNS = [
    finished(init=init, warmup_epochs=warmup, seed=seed)
    for init, warmup, seed in itertools.product(["kaiming_normal", "xavier_normal"], [0, 3], [0, 1, 2])
]


def test_the_gap_is_validation_error_minus_training_error() -> None:
    table = gap_table(RUNS)
    assert len(table) == 24
    assert table[["train_error", "val_error", "gap", "background_gap", "loss_gap"]].iloc[:2].to_numpy().tolist() == [
        [0.25, 0.25, 0.0, 0.0, 0.0],
        [0.125, 0.25, 0.125, 0.125, 0.25],
    ]


def test_ablation_has_one_tidy_row_a_run() -> None:
    table = ablation(RUNS)
    assert table["run"].is_unique
    assert len(table) == 12
    assert table.loc[0, ["init", "warmup_epochs", "seed"]].tolist() == ["kaiming_normal", 0, 0]


def test_variants_are_means_and_sample_deviations_over_seeds() -> None:
    row = variants(ablation(RUNS), ["test_iou"]).iloc[0]
    assert row["variant"] == "init kaiming_normal, warmup_epochs 0"
    assert row["seeds"] == 3
    assert row["test_iou_mean"] == pytest.approx(np.mean([0.8, 0.801, 0.804]))
    assert row["test_iou_std"] == pytest.approx(np.std([0.8, 0.801, 0.804], ddof=1))


def test_pairs_differ_in_one_axis_alone() -> None:
    paired = pairs(ablation(RUNS), AXES, "warmup_epochs", (0, 3), "test_iou")
    assert len(paired) == 6
    assert paired.index[0] == "init kaiming_normal, seed 0"
    assert (paired[3] - paired[0]).tolist() == pytest.approx([0.02, 0.021, 0.02] * 2)


def test_an_effect_is_the_paired_t_test_by_hand() -> None:
    """Differences 1, 2, 3, 4: mean 2.5, standard error sqrt(5/3)/2, t(3) at 0.975 = 3.18245."""
    found = effect(np.array([1.0, 2.0, 3.0, 4.0]))
    error = np.sqrt(5 / 3) / 2
    assert found["pairs"] == 4
    assert found["difference"] == 2.5
    assert found["low"] == pytest.approx(2.5 - 3.182446 * error, rel=1e-6)
    assert found["high"] == pytest.approx(2.5 + 3.182446 * error, rel=1e-6)
    assert found["p"] == pytest.approx(0.0304662, rel=1e-4)


@pytest.mark.parametrize("differences", [[0.1], [0.2, 0.2, 0.2]])
def test_without_spread_there_is_no_interval(differences: list[float]) -> None:
    found = effect(np.array(differences))
    assert found["difference"] == pytest.approx(differences[0])
    assert np.isnan([found["low"], found["high"], found["p"]]).all()


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.04; made monotone, in the given order."""
    found = holm(np.array([0.03, 0.01, np.nan, 0.04, 0.02]))
    np.testing.assert_allclose(found, [0.06, 0.04, np.nan, 0.06, 0.06])


def test_effects_find_what_was_planted_and_word_it_by_direction() -> None:
    table = effects(ablation(RUNS), AXES).set_index(["axis", "outcome"])
    assert len(table) == 2 * len(OUTCOMES)
    warmup = table.loc[("warmup_epochs", "test_iou")]
    assert (warmup["from"], warmup["to"], warmup["pairs"]) == (0, 3, 6)
    assert warmup["difference"] == pytest.approx(0.02 + 0.001 / 3)
    assert warmup["low"] < 0.02 + 0.001 / 3 < warmup["high"]
    assert warmup["verdict"] == "better"
    assert table.loc[("warmup_epochs", "val_iou"), "verdict"] == "inconclusive"


def test_a_larger_gap_is_worse() -> None:
    table = ablation(RUNS).assign(gap_test_iou=lambda t: t["test_iou"])
    found = effects(table, AXES).set_index(["axis", "outcome"])
    assert found.loc[("warmup_epochs", "gap_test_iou"), "verdict"] == "worse"


def test_a_grid_of_seeds_alone_has_no_effect_to_tell() -> None:
    table = ablation(RUNS[:3])
    assert effects(table, AXES[2:]).empty
    assert variant_of({"seed": 1}) == "all runs"


def test_leaves_join_nested_keys() -> None:
    assert dict(leaves({"epoch": 2, "gap": {"val": {"iou": 0.1}}})) == {"epoch": 2, "gap_val_iou": 0.1}
