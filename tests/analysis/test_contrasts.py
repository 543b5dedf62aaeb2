from __future__ import annotations

import numpy as np

from fieldgap.analysis.contrasts import INTERACTION, MAIN, comparisons, contrast, on_grid


def test_each_level_is_compared_with_the_first_of_its_axis() -> None:
    compared = [row for row in comparisons({"a": [0.1, 0.3, 1.0], "b": ["x", "y"]}) if row.kind == MAIN]
    assert [row.columns["effect"] for row in compared] == ["a: 0.3 against 0.1", "a: 1.0 against 0.1", "b: y against x"]


def test_a_main_effect_pairs_runs_that_differ_in_one_axis_only() -> None:
    """Two levels of a, three of b, four seeds: runs 0 to 11 have the first level of a."""
    levels = {"a": [0, 1], "b": [0, 1, 2]}
    grid = on_grid(np.arange(24) ** 2, levels)
    first, *_ = comparisons(levels)
    assert contrast(grid, first, 2).tolist() == (grid[1] - grid[0]).tolist()
    (step,) = comparisons(levels)[2:3]
    assert contrast(grid, step, 2).tolist() == (grid[:, 2] - grid[:, 0]).tolist()


def test_interactions_are_of_every_two_axes_and_levels() -> None:
    compared = comparisons({"a": [0, 1, 2], "b": [0, 1], "c": [0, 1]})
    assert [comparison.axis for comparison in compared if comparison.kind == INTERACTION] == [
        "a x b",
        "a x c",
        "a x b",
        "a x c",
        "b x c",
    ]
    grid = np.random.default_rng(0).normal(size=(3, 2, 2, 4))
    for comparison in compared:
        if comparison.axis == "a x c":
            level = comparison.steps[0][1]
            expected = (grid[level, :, 1] - grid[0, :, 1]) - (grid[level, :, 0] - grid[0, :, 0])
            np.testing.assert_allclose(contrast(grid, comparison, 3), expected)
