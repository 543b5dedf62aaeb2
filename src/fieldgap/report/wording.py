"""The report's sentences, for page, Markdown and captions: verdicts in plain words, and what each figure shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fieldgap.analysis.effects import OUTCOMES
from fieldgap.analysis.inference import OPEN, POWER, SAME

if TYPE_CHECKING:
    import pandas as pd

QUESTION = "Does this way of starting and steering the training generalise better, by how much, and how sure are we?"
NOTHING = "These runs have nothing to show here."
HEADLINE = ("test_iou", "gap_test_iou")
HELD_OUT = {"val": "validation", "test": "test"}

CAPTIONS = {
    "verdict": "What each axis does to the error on unseen scenes and to the gap. Dots: pairs of runs that differ in "
    "that axis alone. Tick and bar: mean over seeds and its 95 % interval. Grey: differences too small to matter.",
    "effects": "Every outcome and every pair: same seed, same other values. Tick and bar: mean over seeds and its 95 % "
    "Student-t interval. Grey: the margin that is too small to matter.",
    "interactions": "How two axes go together: where the lines are parallel, the effect of one does not depend on the "
    "other. Dots: runs; lines: their means over all else.",
    "divergence": "Mean validation IoU by peak rate and warm-up; cells say where runs diverged (they count as 0). The "
    "orange edge: no run diverged below it.",
    "gap": "The generalization gap over epochs: validation error minus training error, both measured in eval mode "
    "without augmentation at the same weights, training on a fixed subset of the size of validation. Line: mean over "
    "seeds; band: lowest to highest seed. Click a variant in the legend to single it out.",
    "errors": "Training and validation error over epochs, a panel a variant. Line: mean over seeds; band: lowest to "
    "highest seed.",
    "gap_ends": "The gap at each run's best epoch (by validation IoU) and at its last one: mean over seeds with its "
    "95 % interval. The best epoch is chosen on validation, which flatters its gap there, not on test.",
    "splits": "Left: test error against training error; the distance above the diagonal is the gap. Right: test error "
    "against validation error; runs off the diagonal met test scenes that are harder or easier than the validation "
    "scenes, which is a shift between scenes and no overfitting. A point is a run.",
    "naive": "The gap of the loss, beside what one would take for it from the running loss that most tools print. "
    "Median over seeds, a panel a variant.",
    "calibration": "Share of right pixels against mean confidence on the test scenes, seeds pooled. Below the diagonal "
    "a network is surer than it should be.",
    "scenes": "IoU of each test scene, mean over seeds, the hardest scene on top.",
    "disagreement": "Share of test pixels on which two runs differ, mean over pairs of runs. On the diagonal two seeds "
    "of one variant: what training it again would change.",
    "rates": "The learning rate in force at each update. Variants that share a curve share a line.",
}


def number(value: float, signed: bool = False) -> str:
    """-> four decimals, n/a for nan."""
    if value is None or math.isnan(value):
        return "n/a"
    return f"{value:+.4f}" if signed else f"{value:.4f}"


def compact(value: float, outcome: str, signed: bool = True) -> str:
    """-> three decimals, or one for epochs."""
    digits = 1 if outcome == "epochs_to_level" else 3
    return f"{value:{'+' if signed else ''}.{digits}f}"


def interval(row: Mapping[str, Any]) -> str:
    """-> "+0.012 (95 % interval +0.003 to +0.021, 5 seeds)", or without an interval where there is none."""
    low, high = row["low"], row["high"]
    mean, seeds = compact(row["difference"], row["outcome"]), f"{row['seeds']} seed{'s' if row['seeds'] != 1 else ''}"
    if math.isnan(row["difference"]):
        return "no seed has it in all its runs"
    if math.isnan(low):
        return f"{mean} ({seeds}, no interval)"
    return f"{mean} (95 % interval {compact(low, row['outcome'])} to {compact(high, row['outcome'])}, {seeds})"


def seeds_needed(row: Mapping[str, Any]) -> str:
    """-> how many seeds would decide, in words."""
    needed, margin = row["seeds_needed"], f"{row['margin']:g}"
    if math.isnan(needed):
        return "Two seeds or more that differ are needed for an interval."
    if math.isinf(needed):
        return f"No practicable number of seeds would tell a difference of {margin}."
    if needed <= row["seeds"]:
        return f"A true difference of {margin} would have been found with a probability of {POWER:.0%} or more."
    return f"About {needed:.0f} seeds would tell a difference of {margin}."


def sentence(row: Mapping[str, Any]) -> str:
    """One row of effects.effects() -> what was found, in plain words, without the verdict's own word."""
    words = OUTCOMES[row["outcome"]].words
    if row["lost"]:
        found = f"{words}: {row['lost']} of {row['pairs']} pairs have none, since a run of theirs diverged; "
        return f"{found}what is left, {interval(row)}, cannot speak for them."
    if row["verdict"] == SAME:
        return f"{words}: no difference larger than {row['margin']:g}; {interval(row)}."
    found = f"{words}: {interval(row)}."
    return f"{found} {seeds_needed(row)}" if row["verdict"] == OPEN else found


def scene_sentence(row: Mapping[str, Any]) -> str:
    """-> what other test scenes would have changed, or nothing where it was not asked."""
    if math.isnan(row["scenes_low"]):
        return ""
    bounds = " to ".join(compact(row[key], row["outcome"]) for key in ("scenes_low", "scenes_high"))
    return f"With these runs and other test scenes of the same kind: {bounds}."


def estimate_phrase(name: str, estimate: Mapping[str, Any], gap: float) -> str:
    """-> what some held-out scenes made of the population gap, how far off that was, and whether they could tell."""
    off = estimate["mean"] - gap
    told = f"{estimate['scenes']} {name} scenes put it at {estimate['mean']:+.4f}, {abs(off):.4f} too "
    told += "high" if off > 0 else "low"
    if math.isnan(estimate["low"]):
        return told
    holds = "holds" if estimate["low"] <= gap <= estimate["high"] else "misses"
    bounds = f"{estimate['low']:+.4f} to {estimate['high']:+.4f}"
    return f"{told} (their bootstrap of whole scenes says {bounds}, which {holds} it)"


def population_sentence(overall: Mapping[str, Mapping[str, Any]]) -> str:
    """-> the population gap and what held-out scenes made of it; overall: that of population.section()."""
    fresh = overall["fresh"]
    phrases = [estimate_phrase(words, overall[split], fresh["mean"]) for split, words in HELD_OUT.items()]
    return (
        f"On {fresh['scenes']} fresh scenes, drawn like the data and seen by no run, the gap is {fresh['mean']:+.4f}, "
        f"mean over runs (other fresh scenes: {fresh['low']:+.4f} to {fresh['high']:+.4f}). {'; '.join(phrases)}."
    )


def fit_sentence(fits: Mapping[str, int], since: Sequence[int]) -> str:
    """-> what the curves of a variant's seeds say, how often, and from which epochs they overfit."""
    runs = sum(fits.values())
    told = "; ".join(f"{fit} in {count} of {runs}" for fit, count in fits.items())
    return f"{told} (from epoch {', '.join(map(str, sorted(since)))})" if since else told


def naive_sentence(gaps: Mapping[str, float]) -> str:
    """-> what the running loss would have made of the gap, and why; gaps: that of analysis.naive_gaps()."""
    first, last = (gaps[f"{when}_naive_gap"] - gaps[f"{when}_loss_gap"] for when in ("first", "last"))
    return (
        f"Mean over runs, the gap of the loss is {gaps['first_loss_gap']:+.4f} after the first epoch and "
        f"{gaps['last_loss_gap']:+.4f} after the last. Taken against the running loss it would be "
        f"{gaps['first_naive_gap']:+.4f} and {gaps['last_naive_gap']:+.4f}, that is {first:+.4f} and {last:+.4f} off. "
        "The running loss is taken while the weights move, over turned and mirrored tiles, in train mode. Late in "
        "training this puts it above the loss that the final weights have on the same scenes, and hides part of the "
        "gap. Early on the order may be reversed: BatchNorm's running means lag behind fast weights, which harms eval "
        "mode alone."
    )


def disagreement_sentence(shares: pd.DataFrame) -> str:
    """-> what variants disagree on beyond what seeds do; nothing to say of one variant."""
    same = shares["one"] == shares["other"]
    between, within = shares.loc[~same, "share"].mean(), shares.loc[same, "share"].mean()
    if math.isnan(between):
        return ""
    told = f"Two runs of different variants differ on {between:.1%} of the test pixels"
    if math.isnan(within):
        return f"{told}; with one seed each there is nothing to hold that against."
    return f"{told}, two seeds of one variant on {within:.1%}: what exceeds the latter is due to the variants."
