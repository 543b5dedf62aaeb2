from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from conftest import JUDGE
from made import history, made_run

from fieldgap.analysis.diagnosis import (
    NEITHER,
    OVERFITTING,
    UNDERFITTING,
    diagnose,
    epochs_to,
    level_to_reach,
    overfits_from,
    overfitting_onset,
)

RISING = np.linspace(0.5, 0.9, 9)
PEAK = np.array([0.5, 0.6, 0.7, 0.8, 0.78, 0.76, 0.74, 0.72, 0.70])  # Falls by 0.1 from the fourth epoch on.


def test_overfitting_starts_at_the_epoch_of_the_highest_validation_accuracy() -> None:
    assert overfitting_onset(RISING, PEAK, window=5, margin=0.0999) == 3


@pytest.mark.parametrize(
    ("train", "val", "window", "margin"),
    [
        (RISING, RISING, 2, 0.01),  # The best epoch is the last.
        (RISING, PEAK, 6, 0.01),  # Five epochs follow, not six.
        (RISING, PEAK, 5, 0.1001),  # It falls by 0.1, no more.
        (RISING[::-1], PEAK, 5, 0.01),  # Training accuracy falls, too.
        (np.full(9, 0.9), PEAK, 5, 0.01),
    ],
)
def test_it_is_not_overfitting_if_one_condition_is_missing(
    train: np.ndarray, val: np.ndarray, window: int, margin: float
) -> None:
    assert overfitting_onset(train, val, window, margin) is None


def test_of_equal_epochs_the_first_counts_and_the_line_is_fitted_by_least_squares() -> None:
    """Validation 0.8, 0.8, 0.7, 0.6, 0.6 has a least-squares slope of -0.06: a fall of 0.24 over four epochs."""
    val = np.array([0.8, 0.8, 0.7, 0.6, 0.6])
    assert overfitting_onset(RISING[:5], val, window=4, margin=0.2399) == 0
    assert overfitting_onset(RISING[:5], val, window=4, margin=0.2401) is None


def test_noise_around_a_plateau_is_rarely_called_overfitting() -> None:
    random = np.random.default_rng(0)
    called = [overfitting_onset(RISING, 0.8 + random.normal(0, 0.003, 9), 5, 0.01) is not None for _ in range(1000)]
    assert np.mean(called) < 0.02


def test_epochs_are_numbered_as_in_the_history() -> None:
    assert overfits_from(history(RISING.tolist(), PEAK.tolist()), dataclasses.replace(JUDGE, window=5)) == 4
    assert diagnose(history(RISING.tolist(), PEAK.tolist()), JUDGE) == OVERFITTING


@pytest.mark.parametrize(
    ("train", "val", "expected"),
    [(0.65, 0.64, UNDERFITTING), (0.65, 0.61, NEITHER), (0.75, 0.74, NEITHER)],
)
def test_underfitting_is_poor_training_with_a_small_gap(train: float, val: float, expected: str) -> None:
    assert diagnose(history([0.4, 0.5, train], [0.3, 0.4, val]), JUDGE) == expected


def test_a_run_without_an_epoch_is_neither() -> None:
    assert diagnose(history([], []), JUDGE) == NEITHER
    assert overfits_from(history([], []), JUDGE) is None


def test_the_level_is_a_share_of_the_median_of_finished_runs() -> None:
    runs = [made_run({"seed": i}, val_iou=iou) for i, iou in enumerate((0.5, 0.6, 0.8))]
    assert level_to_reach(runs, 0.5) == pytest.approx(0.3)
    assert level_to_reach([dataclasses.replace(runs[0], status="diverged"), *runs[1:]], 0.5) == pytest.approx(0.35)


def test_epochs_to_a_level_end_with_the_first_that_reaches_it_or_one_past_the_last() -> None:
    run = dataclasses.replace(made_run({}), history=history([0.1] * 4, [0.2, 0.5, 0.4, 0.6]))
    assert [epochs_to(level, run) for level in (0.1, 0.5, 0.55, 0.7)] == [1, 2, 4, 5]
    assert epochs_to(0.1, dataclasses.replace(run, status="diverged")) == 5
