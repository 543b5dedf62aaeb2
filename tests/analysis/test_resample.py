from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
from conftest import JUDGE
from made import COUNTS, made_run, scene_counts

from fieldgap.analysis.ablation import ablation_table
from fieldgap.analysis.effects import score_failures
from fieldgap.analysis.resample import DRAWS, resampled_scores, scene_draws, scene_intervals
from fieldgap.analysis.runs import EvaluatedRun

AXES = ["init", "seed"]


def runs_of(counts: dict[str, dict[str, list[list[int]]]], seeds: int = 2) -> list[EvaluatedRun]:
    """Return runs of each init with these scenes, the same for all seeds."""
    runs = []
    for init, seed in itertools.product(counts, range(seeds)):
        run = made_run({"init": init, "seed": seed}, train_iou=0.9)
        runs.append(dataclasses.replace(run, scenes=scene_counts(counts[init])))
    return runs


def intervals(runs: list[EvaluatedRun]) -> pd.DataFrame:
    counts = score_failures(ablation_table(runs, JUDGE), AXES)
    return scene_intervals(resampled_scores(runs, counts), counts, AXES).set_index("outcome")


def test_a_draw_has_as_many_scenes_as_there_are_and_every_scene_is_equally_likely() -> None:
    drawn = scene_draws(5)
    assert drawn.shape == (DRAWS, 5)
    assert (drawn.sum(1) == 5).all()
    assert drawn.mean(0) == pytest.approx(np.ones(5), abs=0.1)
    assert (drawn == scene_draws(5)).all()


def test_whole_scenes_are_drawn() -> None:
    """In every scene one variant gets all pixels right and the other none.

    Two scenes allow four draws: (2, 0) gives a difference of 1, (0, 2) one of -1, and (1, 1), twice as likely, one of
    0. So 95% lie between -1 and 1.
    """
    right, wrong = [[0, 0], [0, 100]], [[0, 0], [100, 0]]
    runs = runs_of({"first": {"north": wrong, "south": right}, "second": {"north": right, "south": wrong}})
    scores_drawn = resampled_scores(runs, score_failures(ablation_table(runs, JUDGE), AXES))["test_iou"]
    differences = scores_drawn[:, 2] - scores_drawn[:, 0]
    assert {value: (differences == value).mean() for value in (-1, 0, 1)} == pytest.approx(
        {-1: 0.25, 0: 0.5, 1: 0.25}, abs=0.03
    )
    row = intervals(runs).loc["test_iou"]
    assert (row["scenes_low"], row["scenes_high"]) == (-1, 1)


def test_a_difference_that_all_scenes_share_has_no_spread_and_the_gap_has_the_opposite_sign() -> None:
    same = {"north": [[0, 0], [20, 80]], "south": [[0, 0], [200, 800]]}
    better = {"north": [[0, 0], [10, 90]], "south": [[0, 0], [100, 900]]}
    rows = intervals(runs_of({"first": same, "second": better}))
    assert rows.loc["test_iou", ["scenes_low", "scenes_high"]].tolist() == pytest.approx([0.1, 0.1])
    assert rows.loc["gap_test_iou", ["scenes_low", "scenes_high"]].tolist() == pytest.approx([-0.1, -0.1])


def test_counts_are_summed_before_the_ratio() -> None:
    """On the draw of both scenes IoU is (55 + 50) / (70 + 60), not the mean of 55 / 70 and 50 / 60."""
    runs = runs_of({"first": COUNTS})
    values = resampled_scores(runs, score_failures(ablation_table(runs, JUDGE), AXES))["test_iou"][:, 0]
    assert set(np.round(values, 12)) == {round(x, 12) for x in (55 / 70, 50 / 60, 105 / 130)}


def test_a_diverged_run_scores_zero_in_every_draw_and_has_no_gap() -> None:
    runs = runs_of({"first": COUNTS, "second": COUNTS})
    runs[3] = dataclasses.replace(runs[3], status="diverged")
    drawn = resampled_scores(runs, score_failures(ablation_table(runs, JUDGE), AXES))
    assert (drawn["test_iou"][:, 3] == 0).all()
    assert np.isnan(drawn["gap_test_iou"][:, 3]).all()


def test_runs_with_different_test_scenes_have_no_bounds() -> None:
    rows = intervals(runs_of({"first": COUNTS, "second": {"north": COUNTS["north"], "east": COUNTS["south"]}}))
    assert rows[["scenes_low", "scenes_high"]].isna().all(axis=None)
