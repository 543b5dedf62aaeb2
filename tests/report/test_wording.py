from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from fieldgap.analysis.inference import BETTER, INCONCLUSIVE, NO_DIFFERENCE
from fieldgap.report.wording import (
    design,
    disagreement_sentence,
    fit_sentence,
    population_sentence,
    question,
    scene_sentence,
    sentence,
)

ROW: dict[str, Any] = {
    "outcome": "test_iou",
    "verdict": INCONCLUSIVE,
    "difference": 0.0123,
    "low": -0.003,
    "high": 0.021,
    "seeds": 5,
    "seeds_needed": 12.0,
    "margin": 0.01,
    "pairs": 10,
    "lost": 0,
}
EFFECT = "test IoU: +0.012 (95% interval -0.003 to +0.021, 5 seeds)."


def test_the_question_names_the_axes() -> None:
    assert question(["init"]).startswith("Does init change how well")
    assert question(["init", "lr", "norm"]).startswith("Do init, lr and norm change how well")
    assert question([]).startswith("How well does the model generalise")


def test_the_design_counts_runs_variants_and_seeds() -> None:
    assert design(["init", "lr"], 4, 3) == "12 runs: 4 variants of init and lr, with 3 seeds each."
    assert design(["init"], 1, 1) == "1 run: 1 variant of init, with 1 seed each."
    assert design([], 1, 2) == "One variant, trained with 2 seeds."


def test_an_inconclusive_effect_states_how_many_seeds_would_settle_it() -> None:
    assert sentence(ROW) == f"{EFFECT} About 12 seeds are needed to detect a difference of 0.01."
    enough = "A true difference of 0.01 would have been detected with a probability of 80% or more."
    assert sentence({**ROW, "seeds_needed": 5.0}) == f"{EFFECT} {enough}"
    assert sentence({**ROW, "seeds_needed": math.inf}).endswith(
        "No practical number of seeds would detect a difference of 0.01."
    )
    single = {**ROW, "low": math.nan, "high": math.nan, "seeds": 1, "seeds_needed": math.nan}
    expected = "test IoU: +0.012 (1 seed, no interval). An interval needs at least two seeds with different results."
    assert sentence(single) == expected


def test_a_verdict_needs_no_more_seeds() -> None:
    assert sentence({**ROW, "verdict": BETTER}) == EFFECT
    same = sentence({**ROW, "verdict": NO_DIFFERENCE})
    assert same == EFFECT.replace("test IoU: ", "test IoU: no difference larger than 0.01; ")


def test_epochs_have_one_decimal() -> None:
    epochs = {**ROW, "outcome": "epochs_to_level", "verdict": BETTER, "difference": -1.25, "low": -2.0, "high": -0.5}
    assert sentence(epochs) == "epochs to the level: -1.2 (95% interval -2.0 to -0.5, 5 seeds)."


def test_lost_pairs_are_named_and_the_rest_is_not_read_as_an_advantage() -> None:
    lost = sentence({**ROW, "outcome": "gap_test_iou", "lost": 2})
    assert lost.startswith(
        "gap on test: no value for 2 of 10 pairs, because runs diverged. The other seeds give +0.012"
    )
    assert lost.endswith("which may flatter the variant that diverged.")
    nothing = {**ROW, "lost": 10, "difference": math.nan, "low": math.nan}
    assert sentence(nothing).endswith("no value for 10 of 10 pairs, because runs diverged; this affects every seed.")


def test_bounds_over_test_scenes_are_stated_where_known() -> None:
    known = scene_sentence({**ROW, "scenes_low": -0.001, "scenes_high": 0.01})
    assert known == "With the same runs and resampled test scenes, the 95% interval is -0.001 to +0.010."
    assert scene_sentence({**ROW, "scenes_low": math.nan, "scenes_high": math.nan}) == ""


def test_the_population_gap_is_compared_with_what_held_out_scenes_show() -> None:
    overall: dict[str, dict[str, Any]] = {
        "fresh": {"scenes": 100, "mean": 0.05, "low": 0.04, "high": 0.0625},
        "val": {"scenes": 12, "mean": 0.075, "low": 0.03, "high": 0.125},
        "test": {"scenes": 14, "mean": 0.0, "low": -0.025, "high": 0.025},
    }
    assert population_sentence(overall) == (
        "On 100 fresh scenes, which are drawn like the data but seen by no run, the gap is +0.0500 on average over "
        "runs (95% interval over resampled scenes +0.0400 to +0.0625). The 12 validation scenes put it at +0.0750, "
        "0.0250 too high (their 95% interval over resampled scenes, +0.0300 to +0.1250, contains it); the 14 test "
        "scenes put it at +0.0000, 0.0500 too low (their 95% interval over resampled scenes, -0.0250 to +0.0250, "
        "misses it)."
    )
    overall["test"] |= {"low": math.nan, "high": math.nan}
    assert population_sentence(overall).endswith("the 14 test scenes put it at +0.0000, 0.0500 too low.")


def test_fits_are_counted_over_runs() -> None:
    fits = {"overfitting": 2, "neither overfitting nor underfitting": 1}
    expected = "overfitting in 2 of 3 runs (from epochs 4 and 7); neither overfitting nor underfitting in 1 of 3 runs"
    assert fit_sentence(fits, [7, 4]) == expected
    assert fit_sentence({"underfitting": 1}, []) == "underfitting in 1 of 1 run"
    assert fit_sentence({"overfitting": 1}, [3]) == "overfitting in 1 of 1 run (from epoch 3)"


def test_variants_are_compared_with_what_seeds_disagree_on() -> None:
    shares = pd.DataFrame({"one": list("aabb"), "other": list("abab"), "share": [0.1, 0.2, 0.3, np.nan]})
    assert disagreement_sentence(shares) == (
        "Two runs of different variants differ on 25.0% of the test pixels, and two seeds of one variant on 10.0%. "
        "Only what exceeds the latter is due to the variants."
    )
    single = shares.assign(share=[np.nan, 0.2, 0.3, np.nan])
    assert disagreement_sentence(single).endswith("with one seed per variant there is nothing to compare that with.")
    assert disagreement_sentence(shares.head(1)) == ""
