"""The report's sentences, for page and summary: the question, and what was measured, in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fieldgap.analysis.diagnosis import OVERFITTING
from fieldgap.analysis.effects import OUTCOMES
from fieldgap.analysis.inference import INCONCLUSIVE, NO_DIFFERENCE, POWER

if TYPE_CHECKING:
    import pandas as pd

HEADLINE = ("test_iou", "gap_test_iou")
HELD_OUT = {"val": "validation", "test": "test"}


def plural(number: int, noun: str) -> str:
    """Return a number with its noun: "1 seed", "3 seeds"."""
    return f"{number} {noun}{'s' if number != 1 else ''}"


def listed(names: Sequence[str]) -> str:
    """Return names as in a sentence: "a", "a and b", "a, b and c"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def question(axes: Sequence[str]) -> str:
    """Return the question that a grid answers; `axes` are those without the seed."""
    if not axes:
        return "How well does the model generalise, and how much of that depends on the seed?"
    verb = "Does" if len(axes) == 1 else "Do"
    return f"{verb} {listed(axes)} change how well the model generalises, by how much, and how surely?"


def design(axes: Sequence[str], variants: int, seeds: int) -> str:
    """Return what was run, in one sentence; `axes` are those without the seed."""
    if not axes:
        return f"One variant, trained with {plural(seeds, 'seed')}."
    runs, kinds = plural(variants * seeds, "run"), plural(variants, "variant")
    return f"{runs}: {kinds} of {listed(axes)}, with {plural(seeds, 'seed')} each."


def compact(value: float, outcome: str) -> str:
    """Return a signed difference with three decimals, or with one if it is in epochs."""
    return f"{value:+.{1 if outcome == 'epochs_to_level' else 3}f}"


def interval(row: Mapping[str, Any]) -> str:
    """Return an effect such as "+0.012 (95% interval +0.003 to +0.021, 5 seeds)"; with one seed it has no interval."""
    mean, low, high = (compact(row[name], row["outcome"]) for name in ("difference", "low", "high"))
    seeds = plural(row["seeds"], "seed")
    if math.isnan(row["low"]):
        return f"{mean} ({seeds}, no interval)"
    return f"{mean} (95% interval {low} to {high}, {seeds})"


def seeds_needed(row: Mapping[str, Any]) -> str:
    """Return how many seeds would settle a comparison."""
    needed, margin = row["seeds_needed"], f"{row['margin']:g}"
    if math.isnan(needed):
        return "An interval needs at least two seeds with different results."
    if math.isinf(needed):
        return f"No practical number of seeds would detect a difference of {margin}."
    if needed <= row["seeds"]:
        return f"A true difference of {margin} would have been detected with a probability of {POWER:.0%} or more."
    return f"About {needed:.0f} seeds are needed to detect a difference of {margin}."


def _lost_pairs(row: Mapping[str, Any]) -> str:
    reason = f"no value for {row['lost']} of {row['pairs']} pairs, because runs diverged"
    if math.isnan(row["difference"]):
        return f"{reason}; this affects every seed."
    return f"{reason}. The other seeds give {interval(row)}, which may flatter the variant that diverged."


def sentence(row: Mapping[str, Any]) -> str:
    """Return what was measured, for one row of `effects.effects`; the verdict is shown beside it."""
    words = OUTCOMES[row["outcome"]].words
    if row["lost"]:
        return f"{words}: {_lost_pairs(row)}"
    if row["verdict"] == NO_DIFFERENCE:
        return f"{words}: no difference larger than {row['margin']:g}; {interval(row)}."
    measured = f"{words}: {interval(row)}."
    return f"{measured} {seeds_needed(row)}" if row["verdict"] == INCONCLUSIVE else measured


def scene_sentence(row: Mapping[str, Any]) -> str:
    """Return what other test scenes might have shown, or "" if that is not known."""
    if math.isnan(row["scenes_low"]):
        return ""
    low, high = (compact(row[name], row["outcome"]) for name in ("scenes_low", "scenes_high"))
    return f"With the same runs and resampled test scenes, the 95% interval is {low} to {high}."


def _held_out_phrase(name: str, estimate: Mapping[str, Any], gap: float) -> str:
    off = estimate["mean"] - gap
    direction = "high" if off > 0 else "low"
    phrase = f"the {estimate['scenes']} {name} scenes put it at {estimate['mean']:+.4f}, {abs(off):.4f} too {direction}"
    if math.isnan(estimate["low"]):
        return phrase
    contains = "contains" if estimate["low"] <= gap <= estimate["high"] else "misses"
    bounds = f"{estimate['low']:+.4f} to {estimate['high']:+.4f}"
    return f"{phrase} (their 95% interval over resampled scenes, {bounds}, {contains} it)"


def population_sentence(overall: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the population gap, and how far held-out scenes were from it.

    Args:
        overall: The entry of that name in what `population.section` returns.
    """
    fresh = overall["fresh"]
    phrases = "; ".join(_held_out_phrase(name, overall[split], fresh["mean"]) for split, name in HELD_OUT.items())
    return (
        f"On {fresh['scenes']} fresh scenes, which are drawn like the data but seen by no run, the gap is "
        f"{fresh['mean']:+.4f} on average over runs (95% interval over resampled scenes {fresh['low']:+.4f} to "
        f"{fresh['high']:+.4f}). {phrases[0].upper()}{phrases[1:]}."
    )


def fit_sentence(fits: Mapping[str, int], since: Sequence[int]) -> str:
    """Return how many runs of a variant overfit, underfit or do neither.

    Args:
        fits: The number of runs with each diagnosis.
        since: The epochs from which runs overfit.
    """
    runs, phrases = plural(sum(fits.values()), "run"), []
    for fit, count in fits.items():
        phrase = f"{fit} in {count} of {runs}"
        if fit == OVERFITTING:
            epochs = listed([str(epoch) for epoch in sorted(since)])
            phrase += f" (from {'epoch' if count == 1 else 'epochs'} {epochs})"
        phrases.append(phrase)
    return "; ".join(phrases)


def naive_sentence(gaps: Mapping[str, float]) -> str:
    """Return what the gap would seem to be against the running loss, and why.

    Args:
        gaps: What `ablation.naive_gaps` returns.
    """
    first, last = (gaps[f"{when}_naive_gap"] - gaps[f"{when}_loss_gap"] for when in ("first", "last"))
    return (
        f"On average over runs, the gap of the loss is {gaps['first_loss_gap']:+.4f} after the first epoch and "
        f"{gaps['last_loss_gap']:+.4f} after the last. Against the running loss it would seem to be "
        f"{gaps['first_naive_gap']:+.4f} and {gaps['last_naive_gap']:+.4f}, which is off by {first:+.4f} and "
        f"{last:+.4f}. The running loss is averaged while the weights still change, in train mode and under "
        "augmentation. Late in training this puts it above the loss of the final weights on the same scenes and hides "
        "part of the gap. Early on it may be the other way round: BatchNorm's running means lag behind weights that "
        "change fast, which hurts eval mode only."
    )


def disagreement_sentence(shares: pd.DataFrame) -> str:
    """Return how much variants disagree beyond what seeds do, or "" for a single variant."""
    same = shares["one"] == shares["other"]
    between, within = shares.loc[~same, "share"].mean(), shares.loc[same, "share"].mean()
    if math.isnan(between):
        return ""
    phrase = f"Two runs of different variants differ on {between:.1%} of the test pixels"
    if math.isnan(within):
        return f"{phrase}; with one seed per variant there is nothing to compare that with."
    return (
        f"{phrase}, and two seeds of one variant on {within:.1%}. Only what exceeds the latter is due to the variants."
    )
