from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from fieldgap.base.scores import best_epoch, class_ious, ratio, scores


def test_scores_of_a_hand_computed_case() -> None:
    assert scores(np.array([[50, 10], [5, 35]])) == pytest.approx(
        {
            "accuracy": 85 / 100,
            "iou": 35 / 50,
            "background_iou": 50 / 65,
            "mean_iou": (35 / 50 + 50 / 65) / 2,
            "dice": 70 / 85,
            "precision": 35 / 45,
            "recall": 35 / 40,
        }
    )


def test_scores_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    truth, predicted = random.integers(0, 2, 500), random.integers(0, 2, 500)
    computed = scores(metrics.confusion_matrix(truth, predicted))
    assert computed["iou"] == pytest.approx(metrics.jaccard_score(truth, predicted))
    assert computed["background_iou"] == pytest.approx(metrics.jaccard_score(truth, predicted, pos_label=0))
    assert computed["dice"] == pytest.approx(metrics.f1_score(truth, predicted))
    assert computed["precision"] == pytest.approx(metrics.precision_score(truth, predicted))
    assert computed["recall"] == pytest.approx(metrics.recall_score(truth, predicted))
    assert computed["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))


@pytest.mark.parametrize(
    ("confusion", "expected"),
    [
        ([[9, 0], [0, 0]], {"iou": 1, "precision": 1, "recall": 1, "dice": 1}),
        ([[5, 4], [0, 0]], {"iou": 0, "precision": 0, "recall": 0, "dice": 0}),
        ([[5, 0], [4, 0]], {"iou": 0, "precision": 0, "recall": 0, "dice": 0}),
        ([[0, 0], [0, 9]], {"iou": 1, "background_iou": 1, "recall": 1}),
    ],
)
def test_scores_of_classes_that_are_absent(confusion: list[list[int]], expected: dict[str, float]) -> None:
    assert scores(np.array(confusion)).items() >= expected.items()


def test_class_ious_are_exact_for_each_of_several_matrices() -> None:
    confusions = np.random.default_rng(0).integers(0, 2**40, (4, 3, 3))
    confusions[0] = [[5, 0, 1], [0, 0, 0], [2, 0, 8]]
    ious = class_ious(confusions.astype(np.float64))
    assert ious.shape == (4, 3)
    assert ious[0].tolist() == [5 / 8, 1.0, 8 / 11]
    for confusion, row in zip(confusions.tolist(), ious.tolist(), strict=True):
        for index, iou in enumerate(row):
            either = sum(confusion[index]) + sum(other[index] for other in confusion) - confusion[index][index]
            assert iou == (confusion[index][index] / either if either else 1.0)


def test_a_ratio_of_nothing_is_what_the_caller_says() -> None:
    assert ratio(1, 4, math.nan) == 0.25
    assert ratio(0, 0, 1.0) == 1.0
    assert math.isnan(ratio(0, 0, math.nan))


def test_the_best_epoch_is_the_first_with_the_highest_validation_iou() -> None:
    history = [{"epoch": epoch, "val_iou": iou} for epoch, iou in enumerate([0.1, 0.5, 0.05, 0.5, 0.4], 1)]
    assert best_epoch(history) == 2
    assert best_epoch([{name: str(value) for name, value in row.items()} for row in history]) == 2
    assert best_epoch([{"epoch": "1", "val_iou": "9e-05"}, {"epoch": "2", "val_iou": "0.1"}]) == 2
    assert best_epoch([]) == 0
