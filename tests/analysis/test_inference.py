"""The statistics against closed forms, against scipy, and against their own promises in simulated grids."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fieldgap.analysis.effects import judge
from fieldgap.analysis.inference import (
    BETTER,
    INCONCLUSIVE,
    LEVEL,
    NO_DIFFERENCE,
    POWER,
    WORSE,
    detectable_difference,
    estimate,
    holm,
    noncentrality,
    p_difference,
    p_equivalence,
    seeds_to_detect,
    verdicts,
)

TRIALS = 2000


def seed_means(trials: int, seeds: int, effect: float = 0.0, interaction: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Simulate 2 x 2 grids and return differences along their first axis: seed means (trials, n), pairs (trials, 2 n).

    A seed has an effect of its own and another one for each level of each axis, and each run has noise; all deviations
    are 1.
    """
    random = np.random.default_rng(seeds)
    grid = random.normal(size=(trials, 1, 1, seeds)) + random.normal(size=(trials, 2, 1, seeds))
    grid = grid + random.normal(size=(trials, 1, 2, seeds)) + random.normal(size=(trials, 2, 2, seeds))
    grid[:, 1] += effect
    grid[:, 1, 1] += interaction
    grid[:, 1, 0] -= interaction
    pairs = grid[:, 1] - grid[:, 0]
    return pairs.mean(1), pairs.reshape(trials, -1)


DEVIATION = np.sqrt(2 * (1 + 1 / 2))  # Of a seed mean: two levels, noise averaged over two pairs.


def test_an_estimate_is_the_paired_t_test_by_hand() -> None:
    """Differences 1, 2, 3, 4: mean 2.5, standard error sqrt(5/3)/2, t(3) at 0.975 = 3.182446."""
    estimated = estimate(np.array([1.0, 2.0, 3.0, 4.0]))
    error = np.sqrt(5 / 3) / 2
    assert (float(estimated.mean), int(estimated.seeds), float(estimated.error)) == (2.5, 4, pytest.approx(error))
    assert float(estimated.low) == pytest.approx(2.5 - 3.182446 * error, rel=1e-6)
    assert float(estimated.high) == pytest.approx(2.5 + 3.182446 * error, rel=1e-6)
    assert float(p_difference(estimated)) == pytest.approx(0.0304662, rel=1e-4)


def test_estimates_equal_those_of_scipy_and_leave_out_seeds_without_a_difference() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, (5, 7))
    values[2, 4] = np.nan
    estimated = estimate(values)
    columns = (estimated.mean, p_difference(estimated), estimated.low, estimated.seeds)
    for row, mean, p, low, seeds in zip(values, *columns, strict=True):
        known = row[np.isfinite(row)]
        expected = stats.ttest_1samp(known, 0)
        assert seeds == len(known)
        assert (mean, p) == pytest.approx((known.mean(), expected.pvalue))
        assert low == pytest.approx(expected.confidence_interval(1 - LEVEL).low)


@pytest.mark.parametrize("differences", [[0.1], [0.2, 0.2, 0.2], [0.1 + 0.2, 0.3, 0.3], [0.1, np.nan]])
def test_without_spread_there_is_no_interval(differences: list[float]) -> None:
    estimated = estimate(np.array(differences))
    assert float(estimated.mean) == pytest.approx(differences[0])
    assert np.isnan([estimated.low, estimated.high, p_difference(estimated), p_equivalence(estimated, 0.1)]).all()


def test_equivalence_is_the_worse_of_two_one_sided_tests() -> None:
    values = np.random.default_rng(1).normal(0.2, 1, 9)
    above = stats.ttest_1samp(values, -0.7, alternative="greater").pvalue
    below = stats.ttest_1samp(values, 0.7, alternative="less").pvalue
    assert float(p_equivalence(estimate(values), 0.7)) == pytest.approx(max(above, below))


def test_holm_by_hand_along_the_last_axis() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.04, which is then made monotone."""
    adjusted = holm(np.array([[0.03, 0.01, np.nan, 0.04, 0.02], [0.5, 0.001, 0.5, 0.5, 0.5]]))
    np.testing.assert_allclose(adjusted, [[0.06, 0.04, np.nan, 0.06, 0.06], [1, 0.005, 1, 1, 1]])


@pytest.mark.parametrize("seeds", [3, 4, 8, 40])
@pytest.mark.parametrize("level", [0.05, 0.05 / 12])
def test_the_detectable_difference_follows_from_the_noncentral_t(seeds: int, level: float) -> None:
    shift, critical = noncentrality(seeds, level), stats.t.isf(level / 2, seeds - 1)
    power = stats.nct.sf(critical, seeds - 1, shift) + stats.nct.cdf(-critical, seeds - 1, shift)
    assert power == pytest.approx(POWER, abs=1e-4)
    assert detectable_difference(0.3, seeds, level) == pytest.approx(shift * 0.3 / np.sqrt(seeds))


def test_seeds_to_detect_is_the_first_number_that_suffices() -> None:
    for difference, deviation in ((0.01, 0.002), (0.01, 0.01), (0.01, 0.08)):
        seeds = int(seeds_to_detect(difference, deviation, LEVEL))
        assert detectable_difference(deviation, seeds, LEVEL) <= difference
        assert seeds == 2 or detectable_difference(deviation, seeds - 1, LEVEL) > difference
    assert seeds_to_detect(1e-9, 1.0, LEVEL) == np.inf
    assert np.isnan(seeds_to_detect(0.01, np.nan, LEVEL))


def test_verdicts_follow_direction_and_margin() -> None:
    mean, better = np.array([1.0, 1.0, -1.0, 0.1, 0.1]), np.array([True, False, True, True, True])
    p, equal = np.array([0.01, 0.01, 0.01, 0.5, 0.5]), np.array([0.9, 0.9, 0.9, 0.01, 0.2])
    assert verdicts(mean, p, equal, better).tolist() == [BETTER, WORSE, WORSE, NO_DIFFERENCE, INCONCLUSIVE]
    nan = np.array([np.nan])
    assert verdicts(nan, nan, nan, np.array([True])).tolist() == [INCONCLUSIVE]


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_over_seed_means_cover_as_stated_and_those_over_all_pairs_do_not(seeds: int) -> None:
    """Of 20,000 intervals 95% contain the true mean, within 3 standard deviations of that share.

    An interaction that is the same for all seeds changes nothing. Pairs of one seed share its effect, so an interval
    over all pairs is too narrow.
    """
    for interaction in (0.0, 5.0):
        means, _ = seed_means(20_000, seeds, effect=0.7, interaction=interaction)
        estimated = estimate(means)
        covered = ((estimated.low <= 0.7) & (estimated.high >= 0.7)).mean()
        assert covered == pytest.approx(1 - LEVEL, abs=3 * np.sqrt(LEVEL * (1 - LEVEL) / 20_000))
    pooled = estimate(seed_means(20_000, seeds, effect=0.7)[1])
    assert ((pooled.low <= 0.7) & (pooled.high >= 0.7)).mean() < 0.9


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_an_effect_of_the_detectable_size_is_detected_with_the_stated_power(seeds: int) -> None:
    size = detectable_difference(DEVIATION, seeds, LEVEL)
    means, _ = seed_means(20_000, seeds, effect=size)
    detected = p_difference(estimate(means)) < LEVEL
    assert detected.mean() == pytest.approx(POWER, abs=3 * np.sqrt(POWER * (1 - POWER) / 20_000))


@pytest.mark.parametrize("seeds", [3, 8])
def test_within_a_family_the_stated_power_is_a_lower_bound(seeds: int) -> None:
    """One of 12 comparisons has an effect as large as the strictest of Holm's levels detects."""
    size = detectable_difference(DEVIATION, seeds, LEVEL / 12)
    random = np.random.default_rng(7)
    others = [random.permutation(seed_means(TRIALS, seeds)[0]) for _ in range(11)]
    family = np.stack([seed_means(TRIALS, seeds, effect=size)[0], *others], 1)
    detected = judge(family, np.full(12, 0.01), np.full(12, True))["verdict"][:, 0] == BETTER
    assert detected.mean() > POWER - 3 * np.sqrt(POWER * (1 - POWER) / TRIALS)


@pytest.mark.parametrize("true", [0.5, -0.5])
def test_a_difference_as_large_as_the_margin_is_called_none_in_at_most_one_of_twenty(true: float) -> None:
    means, _ = seed_means(20_000, 8, effect=true)
    called_none = judge(means[:, None], np.array([0.5]), np.array([True]))["verdict"][:, 0] == NO_DIFFERENCE
    assert 0 < called_none.mean() <= LEVEL + 3 * np.sqrt(LEVEL * (1 - LEVEL) / 20_000)


def test_no_difference_is_reported_where_there_is_none_and_seeds_suffice() -> None:
    means, _ = seed_means(TRIALS, 40)
    called_none = judge(means[:, None], np.array([1.2]), np.array([True]))["verdict"][:, 0] == NO_DIFFERENCE
    assert called_none.mean() > 1 - LEVEL - 0.02  # The rest is called better or worse, at LEVEL.
