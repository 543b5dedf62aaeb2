"""How sure: paired tests of arrays that hold one difference a seed in their last dimension; nan where a seed has none.

The seed is the unit of replication. Pairs of runs that share a seed share its start weights and its order of tiles, so
they are averaged before anything is tested: an interval over all pairs as if they were independent is too narrow.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

LEVEL = 0.05
POWER = 0.8
MOST_SEEDS = 10_000
BETTER, WORSE, SAME, OPEN = "better", "worse", "no difference", "inconclusive"


@dataclass(frozen=True)
class Student:
    """Mean, standard deviation, standard error and seeds of differences, and the bounds of the mean's interval."""

    mean: np.ndarray
    deviation: np.ndarray
    error: np.ndarray
    seeds: np.ndarray
    low: np.ndarray
    high: np.ndarray


def student(differences: np.ndarray) -> Student:
    """(..., seeds) -> (...) each. Without two seeds, or without any spread, all but mean and seeds is nan."""
    seeds = np.isfinite(differences).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(differences, -1) / seeds
        deviation = np.sqrt(np.nansum((differences - mean[..., None]) ** 2, -1) / (seeds - 1))
        spread = (differences != mean[..., None]) & np.isfinite(differences)
        deviation = np.where((seeds > 1) & spread.any(-1) & (deviation > 1e-12 * np.abs(mean)), deviation, np.nan)
        error = deviation / np.sqrt(seeds)
        half = stats.t.isf(LEVEL / 2, np.maximum(seeds - 1, 1)) * error
    return Student(mean, deviation, error, seeds, mean - half, mean + half)


def p_difference(found: Student) -> np.ndarray:
    """-> the two-sided p-value of a mean of 0."""
    return 2 * special.stdtr(np.maximum(found.seeds - 1, 1), -np.abs(found.mean) / found.error)


def p_equivalence(found: Student, margin: np.ndarray | float) -> np.ndarray:
    """-> the p-value of a mean of `margin` or more in either direction: two one-sided tests (Schuirmann 1987)."""
    return special.stdtr(np.maximum(found.seeds - 1, 1), (np.abs(found.mean) - margin) / found.error)


def holm(p: np.ndarray) -> np.ndarray:
    """(..., questions) -> p-values adjusted for their family (Holm 1979); nan stays nan and does not count."""
    order = np.argsort(p, -1, kind="stable")  # nan comes last.
    factors = np.isfinite(p).sum(-1, keepdims=True) - np.arange(p.shape[-1])
    raised = np.minimum(1, np.maximum.accumulate(np.take_along_axis(p, order, -1) * factors, -1))
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, raised, -1)
    return adjusted


@functools.cache
def noncentrality(seeds: int, level: float) -> float:
    """-> the true mean, in standard errors, that a two-sided t-test at `level` finds with POWER."""
    degrees = seeds - 1
    critical = float(stats.t.isf(level / 2, degrees))
    chi, weight = chi_nodes(degrees)

    def lacking(shift: float) -> float:
        # The noncentral t-distribution as a mean over the deviation's own distribution: exact also far out.
        found = special.ndtr(shift - critical * chi) + special.ndtr(-shift - critical * chi)
        return float(found @ weight) - POWER

    return float(optimize.brentq(lacking, 0, 40 + 4 * critical))


@functools.cache
def chi_nodes(degrees: int) -> tuple[np.ndarray, np.ndarray]:
    """-> values of sqrt(chi2 / degrees) at evenly spaced quantiles, and their weights."""
    quantiles = (np.arange(4000) + 0.5) / 4000
    return np.sqrt(stats.chi2.ppf(quantiles, degrees) / degrees), np.full(4000, 1 / 4000)


def detectable(deviation: float, seeds: int, level: float) -> float:
    """-> the smallest true difference that is found with POWER, given the differences' deviation over seeds."""
    return noncentrality(seeds, level) * deviation / math.sqrt(seeds) if seeds > 1 else math.nan


def seeds_to_detect(difference: float, deviation: float, level: float) -> float:
    """-> the fewest seeds that find `difference` with POWER; inf beyond MOST_SEEDS, nan without a deviation."""
    if math.isnan(deviation):
        return math.nan
    few, many = 1, 2
    while detectable(deviation, many, level) > difference:
        few, many = many, 2 * many
        if many > MOST_SEEDS:
            return math.inf
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if detectable(deviation, middle, level) > difference else (few, middle)
    return many


def verdicts(mean: np.ndarray, p: np.ndarray, p_equal: np.ndarray, more_is_better: np.ndarray) -> np.ndarray:
    """Adjusted p-values -> BETTER or WORSE where a difference is found, SAME where it is within the margin, or OPEN."""
    gain = (mean > 0) == more_is_better
    return np.select([(p < LEVEL) & gain, p < LEVEL, p_equal < LEVEL], [BETTER, WORSE, SAME], OPEN)
