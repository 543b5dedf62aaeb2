from __future__ import annotations

import dataclasses
import math

import pytest
from made import COUNTS, made_run, scene_counts

from fieldgap.analysis.confusions import class_scores, confusions, scene_scores

RUNS = [made_run({"init": "orthogonal", "seed": seed}) for seed in (0, 1)]


def test_confusions_are_read_by_scene() -> None:
    by_scene = confusions(scene_counts(COUNTS), "test")
    assert {scene: counts.tolist() for scene, counts in by_scene.items()} == COUNTS
    assert confusions(scene_counts(COUNTS), "val") == {}


def test_scene_scores_leave_out_the_background() -> None:
    rows = scene_scores(RUNS[:1])
    assert rows["scene"].tolist() == ["north", "south"]
    assert rows["iou"].tolist() == pytest.approx([55 / 70, 50 / 60])


def test_class_scores_come_from_counts_summed_over_scenes_and_seeds() -> None:
    """Two seeds of north and south together: [[70, 10], [15, 105]], twice."""
    background, farmland = class_scores(RUNS).to_dict("records")
    assert background["variant"] == "init orthogonal"
    assert [background[name] for name in ("iou", "precision", "recall", "share")] == pytest.approx(
        [70 / 95, 70 / 85, 70 / 80, 80 / 200]
    )
    assert [farmland[name] for name in ("iou", "precision", "recall", "share")] == pytest.approx(
        [105 / 130, 105 / 115, 105 / 120, 120 / 200]
    )


def test_a_class_that_is_never_predicted_has_no_precision_and_an_absent_one_no_recall() -> None:
    runs = [dataclasses.replace(RUNS[0], scenes=scene_counts({"north": [[0, 0], [40, 0]]}))]
    background, farmland = class_scores(runs).to_dict("records")
    assert (background["precision"], math.isnan(background["recall"])) == (0, True)
    assert (math.isnan(farmland["precision"]), farmland["recall"]) == (True, 0)
