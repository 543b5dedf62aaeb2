from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from conftest import JUDGE
from made import COUNTS, made, scene_counts

from fieldgap.analysis.ablation import ablation
from fieldgap.analysis.effects import counted
from fieldgap.analysis.resample import DRAWS, confusions, drawn_scores, draws, scene_intervals
from fieldgap.analysis.runs import Finished
from fieldgap.base.scores import class_ious, scores

AXES = ["init", "seed"]


def test_confusions_are_those_of_each_scene() -> None:
    found = confusions(scene_counts(COUNTS), "test")
    assert {scene: counts.tolist() for scene, counts in found.items()} == COUNTS
    assert confusions(scene_counts(COUNTS), "val") == {}


@pytest.mark.parametrize("counts", [[[50, 10], [5, 35]], [[9, 0], [0, 0]], [[5, 4], [0, 0]], [[0, 0], [0, 9]]])
def test_scores_of_counts_are_those_of_measure(counts: list[list[int]]) -> None:
    expected = scores(np.array(counts))
    assert class_ious(np.array(counts, np.float64)).tolist() == [expected["background_iou"], expected["iou"]]


def runs_of(counts: dict[str, dict[str, list[list[int]]]], seeds: int = 2) -> list[Finished]:
    """-> runs of each init with the given scenes, equal for all seeds."""
    runs = []
    for init, seed in itertools.product(counts, range(seeds)):
        run = made({"init": init, "seed": seed}, train_iou=0.9)
        runs.append(Finished(**{**run.__dict__, "scenes": scene_counts(counts[init])}))
    return runs


def intervals(runs: list[Finished]) -> pd.DataFrame:
    counts = counted(ablation(runs, JUDGE), AXES)
    return scene_intervals(drawn_scores(runs, counts), counts, AXES).set_index("outcome")


def test_each_draw_has_as_many_scenes_as_there_are_and_each_scene_its_share() -> None:
    drawn = draws(5)
    assert drawn.shape == (DRAWS, 5)
    assert (drawn.sum(1) == 5).all()
    assert drawn.mean(0) == pytest.approx(np.ones(5), abs=0.1)
    assert (drawn == draws(5)).all()


def test_whole_scenes_are_drawn() -> None:
    """In each scene one variant gets all right and the other nothing. With two scenes all four draws are known: (2, 0)
    gives a difference of 1, (0, 2) of -1, (1, 1), twice as often, of 0; so 95 % lie between -1 and 1."""
    right, wrong = [[0, 0], [0, 100]], [[0, 0], [100, 0]]
    runs = runs_of({"first": {"north": wrong, "south": right}, "second": {"north": right, "south": wrong}})
    scores_drawn = drawn_scores(runs, counted(ablation(runs, JUDGE), AXES))["test_iou"]
    differences = scores_drawn[:, 2] - scores_drawn[:, 0]
    assert {value: (differences == value).mean() for value in (-1, 0, 1)} == pytest.approx(
        {-1: 0.25, 0: 0.5, 1: 0.25}, abs=0.03
    )
    row = intervals(runs).loc["test_iou"]
    assert (row["scenes_low"], row["scenes_high"]) == (-1, 1)


def test_a_difference_that_every_scene_shares_is_sure_and_the_gap_goes_the_other_way() -> None:
    same = {"north": [[0, 0], [20, 80]], "south": [[0, 0], [200, 800]]}
    better = {"north": [[0, 0], [10, 90]], "south": [[0, 0], [100, 900]]}
    rows = intervals(runs_of({"first": same, "second": better}))
    assert rows.loc["test_iou", ["scenes_low", "scenes_high"]].tolist() == pytest.approx([0.1, 0.1])
    assert rows.loc["gap_test_iou", ["scenes_low", "scenes_high"]].tolist() == pytest.approx([-0.1, -0.1])


def test_counts_are_summed_before_the_ratio() -> None:
    """On the draw of both scenes IoU is (55 + 50) / (70 + 60), not the mean of 55 / 70 and 50 / 60."""
    runs = runs_of({"first": COUNTS})
    values = drawn_scores(runs, counted(ablation(runs, JUDGE), AXES))["test_iou"][:, 0]
    assert set(np.round(values, 12)) == {round(x, 12) for x in (55 / 70, 50 / 60, 105 / 130)}


def test_a_diverged_run_counts_as_nothing_in_every_draw_and_has_no_gap() -> None:
    runs = runs_of({"first": COUNTS, "second": COUNTS})
    runs[3] = Finished(**{**runs[3].__dict__, "status": "diverged"})
    drawn = drawn_scores(runs, counted(ablation(runs, JUDGE), AXES))
    assert (drawn["test_iou"][:, 3] == 0).all()
    assert np.isnan(drawn["gap_test_iou"][:, 3]).all()
