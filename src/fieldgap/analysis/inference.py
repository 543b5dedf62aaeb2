"""Paired t-tests over seeds: estimates, adjusted p-values, power and verdicts.

The last axis of every array of differences holds one value per seed; NaN marks a missing one. The seed is the unit of
replication. Pairs of runs that share a seed also share their initial weights and their order of tiles, so they are
averaged before anything is tested: an interval over all pairs, as if they were independent, would be too narrow.
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
BETTER, WORSE, NO_DIFFERENCE, INCONCLUSIVE = "better", "worse", "no difference", "inconclusive"


@dataclass(frozen=True)
class Estimate:
    """Means of paired differences and how precisely they are known; all arrays have the shape of the comparisons.

    Attributes:
        mean: Mean over seeds.
        deviation: Standard deviation over seeds.
        error: Standard error of the mean.
        seeds: Number of seeds with a difference.
        low: Lower bound of the mean's Student-t interval.
        high: Upper bound of it.
    """

    mean: np.ndarray
    deviation: np.ndarray
    error: np.ndarray
    seeds: np.ndarray
    low: np.ndarray
    high: np.ndarray


def estimate(differences: np.ndarray) -> Estimate:
    """Estimate means over the last axis, from `differences` of shape (..., seeds).

    With fewer than two seeds, or without any spread among them, all but the mean and the number of seeds is NaN.
    """
    seeds = np.isfinite(differences).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(differences, -1) / seeds
        deviation = np.sqrt(np.nansum((differences - mean[..., None]) ** 2, -1) / (seeds - 1))
        spread = (differences != mean[..., None]) & np.isfinite(differences)
        deviation = np.where((seeds > 1) & spread.any(-1) & (deviation > 1e-12 * np.abs(mean)), deviation, np.nan)
        error = deviation / np.sqrt(seeds)
        half = stats.t.isf(LEVEL / 2, np.maximum(seeds - 1, 1)) * error
    return Estimate(mean, deviation, error, seeds, mean - half, mean + half)


def mean_and_bounds(values: np.ndarray) -> dict[str, float]:
    """Return "mean", "low" and "high" of one value per seed, as plain numbers."""
    estimated = estimate(values)
    return {"mean": float(estimated.mean), "low": float(estimated.low), "high": float(estimated.high)}


def p_difference(estimated: Estimate) -> np.ndarray:
    """Return the two-sided p-value of a true mean of 0."""
    return 2 * special.stdtr(np.maximum(estimated.seeds - 1, 1), -np.abs(estimated.mean) / estimated.error)


def p_equivalence(estimated: Estimate, margin: np.ndarray | float) -> np.ndarray:
    """Return the p-value of a true mean at least `margin` away from 0: two one-sided tests (Schuirmann 1987)."""
    return special.stdtr(np.maximum(estimated.seeds - 1, 1), (np.abs(estimated.mean) - margin) / estimated.error)


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values adjusted for their family, the last axis (Holm 1979); NaN stays NaN and is not counted."""
    order = np.argsort(p, -1, kind="stable")  # NaN sorts last.
    factors = np.isfinite(p).sum(-1, keepdims=True) - np.arange(p.shape[-1])
    raised = np.minimum(1, np.maximum.accumulate(np.take_along_axis(p, order, -1) * factors, -1))
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, raised, -1)
    return adjusted


@functools.cache
def _chi_nodes(degrees: int) -> tuple[np.ndarray, np.ndarray]:
    """Return values of sqrt(chi2 / degrees) at evenly spaced quantiles, and their weights."""
    quantiles = (np.arange(4000) + 0.5) / 4000
    return np.sqrt(stats.chi2.ppf(quantiles, degrees) / degrees), np.full(4000, 1 / 4000)


@functools.cache
def noncentrality(seeds: int, level: float) -> float:
    """Return the true mean, in standard errors, that a two-sided t-test at `level` detects with probability POWER."""
    degrees = seeds - 1
    critical = float(stats.t.isf(level / 2, degrees))
    chi, weight = _chi_nodes(degrees)

    def missing_power(shift: float) -> float:
        # The noncentral t-distribution, averaged over the distribution of the deviation: exact far out, too.
        power = special.ndtr(shift - critical * chi) + special.ndtr(-shift - critical * chi)
        return float(power @ weight) - POWER

    return float(optimize.brentq(missing_power, 0, 40 + 4 * critical))


def detectable_difference(deviation: float, seeds: int, level: float) -> float:
    """Return the smallest true difference detected with POWER, given the deviation over seeds; NaN for one seed."""
    return noncentrality(seeds, level) * deviation / math.sqrt(seeds) if seeds > 1 else math.nan


def seeds_to_detect(difference: float, deviation: float, level: float) -> float:
    """Return the fewest seeds that detect `difference` with POWER.

    The result is infinite beyond MOST_SEEDS, and NaN if the deviation is.
    """
    if math.isnan(deviation):
        return math.nan
    few, many = 1, 2
    while detectable_difference(deviation, many, level) > difference:
        few, many = many, 2 * many
        if many > MOST_SEEDS:
            return math.inf
    while many - few > 1:
        middle = (few + many) // 2
        too_few = detectable_difference(deviation, middle, level) > difference
        few, many = (middle, many) if too_few else (few, middle)
    return many


def verdicts(mean: np.ndarray, p: np.ndarray, p_equal: np.ndarray, more_is_better: np.ndarray) -> np.ndarray:
    """Return a verdict for each mean.

    Args:
        mean: Estimated differences.
        p: Adjusted p-values of no difference.
        p_equal: Adjusted p-values of a difference of the margin or more.
        more_is_better: Whether a positive difference is an improvement.
    """
    gain = (mean > 0) == more_is_better
    choices = [BETTER, WORSE, NO_DIFFERENCE]
    return np.select([(p < LEVEL) & gain, p < LEVEL, p_equal < LEVEL], choices, INCONCLUSIVE)
