from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import pytest
from conftest import JUDGE
from made import made_run

from fieldgap.analysis.ablation import ablation_table, gap_table
from fieldgap.analysis.effects import score_failures
from fieldgap.analysis.evidence import AGREES, DISAGREES, UNTESTED, Evidence, stable_rate
from fieldgap.analysis.literature import STATEMENTS, check_statements
from fieldgap.analysis.runs import EvaluatedRun, shared_items

Point = Mapping[str, Any]


def evidence_of(runs: list[EvaluatedRun], axes: list[str], gap: pd.DataFrame) -> Evidence:
    scored = score_failures(ablation_table(runs, JUDGE), axes)
    return Evidence(scored, shared_items([run.config for run in runs]), gap, JUDGE)


def answers(
    axes: Mapping[str, list[Any]], iou: Callable[[Point], float], fails: Callable[[Point], bool] = lambda point: False
) -> list[str]:
    """Return the answer to each of STATEMENTS from a grid with these validation IoUs and failures, over four seeds."""
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    runs = [
        made_run(
            {**point, "seed": seed}, "diverged" if fails(point) else "finished", val_iou=iou({**point, "seed": seed})
        )
        for point in points
        for seed in range(4)
    ]
    rows = check_statements(evidence_of(runs, [*axes, "seed"], gap_table(runs)))
    assert [row["claim"] for row in rows] == [statement.claim for statement in STATEMENTS]
    return [row["answer"] for row in rows]


INITS = ["kaiming_normal", "xavier_normal"]
RATES = {"warmup_epochs": [0, 3], "lr": [0.1, 0.3, 1.0]}


def noisy(point: Point, effect: float) -> float:
    return (
        0.7 + effect * (point["init"] == "kaiming_normal") + 0.0001 * point["seed"] ** 2 * (point["init"] == INITS[0])
    )


@pytest.mark.parametrize(("effect", "answer"), [(0.0, AGREES), (0.005, AGREES), (0.05, DISAGREES), (-0.05, DISAGREES)])
def test_batchnorm_hides_the_init_if_the_difference_lies_within_the_margin(effect: float, answer: str) -> None:
    assert answers({"init": INITS}, lambda point: noisy(point, effect))[2] == answer


def test_a_difference_about_as_large_as_the_margin_settles_nothing() -> None:
    assert answers({"init": INITS}, lambda point: noisy(point, 0.0097))[2] == UNTESTED


@pytest.mark.parametrize(("effect", "answer"), [(0.05, AGREES), (-0.05, DISAGREES)])
def test_he_without_norms_is_judged_by_the_runs_without_norms_only(effect: float, answer: str) -> None:
    """In the same grid there is no difference with BatchNorm."""
    answered = answers({"init": INITS, "norm": ["batch", "none"]}, lambda p: noisy(p, effect * (p["norm"] == "none")))
    assert answered[2:4] == [AGREES, answer]


def test_without_the_axes_nothing_is_claimed() -> None:
    answered = answers({"schedule": ["cosine", "constant"]}, lambda point: 0.7)
    assert answered[:4] == [UNTESTED] * 4


@pytest.mark.parametrize(
    ("fails", "answer"),
    [
        (lambda p: p["lr"] == 1.0 and p["warmup_epochs"] == 0, AGREES),
        (lambda p: p["lr"] == 1.0 and p["warmup_epochs"] == 3, DISAGREES),
        (lambda p: p["lr"] == 1.0, UNTESTED),
        (lambda p: False, UNTESTED),
    ],
)
def test_warmup_tolerates_larger_rates_if_runs_with_it_diverge_later(
    fails: Callable[[Point], bool], answer: str
) -> None:
    assert answers(RATES, lambda point: 0.7, fails)[0] == answer


@pytest.mark.parametrize(
    ("warm", "normed", "answer"), [(0.3, 0.3, AGREES), (0.3, 0.1, AGREES), (0.1, 0.3, DISAGREES), (1.0, 1.0, UNTESTED)]
)
def test_warmup_against_norms_compares_the_largest_stable_rates(warm: float, normed: float, answer: str) -> None:
    def fails(point: Point) -> bool:
        alone = point["norm"] == "none" and point["warmup_epochs"] == 3
        return bool(point["lr"] > (warm if alone else normed)) and (alone or point["norm"] == "batch")

    assert answers({"norm": ["batch", "none"], **RATES}, lambda point: 0.7, fails)[1] == answer


def test_the_stable_rate_lies_below_the_first_at_which_a_run_diverges() -> None:
    axes = {"lr": [1.0, 0.1, 0.3], "seed": [0, 1]}
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    for broken, expected in ((0.3, 0.1), (1.0, 0.3), (0.1, 0.0), (9.0, 1.0)):
        runs = [made_run(p, "diverged" if p["lr"] == broken and p["seed"] == 1 else "finished") for p in points]
        assert stable_rate(score_failures(ablation_table(runs, JUDGE), list(axes))) == expected


def test_the_running_loss_is_compared_with_the_training_loss() -> None:
    """In these runs it is exactly 0.1 higher in every epoch of every seed: without spread there is no interval."""
    assert answers({"init": INITS}, lambda point: 0.7)[4] == UNTESTED
    runs = [made_run({"seed": seed}) for seed in range(4)]
    gap = gap_table(runs)
    gap["running_loss"] += 0.01 * gap["seed"]
    for sign, answer in ((1, AGREES), (-1, DISAGREES)):
        moved = gap.assign(running_loss=gap["train_loss"] + sign * (gap["running_loss"] - gap["train_loss"]))
        moved.loc[moved["epoch"] == 4, "running_loss"] = -sign * 1e9  # As before a divergence.
        row = check_statements(evidence_of(runs, ["seed"], moved))[4]
        assert row["answer"] == answer
        assert f"{sign * 0.115:+.4f}" in row["evidence"]
