"""The captions of the report's figures."""

from __future__ import annotations

NOTHING = "These runs have nothing to show here."

CAPTIONS = {
    "verdict": "How each axis changes test IoU and the gap on test. Dots: pairs of runs that differ in that axis only. "
    "Tick and bar: mean over seeds with its 95% interval. Grey: differences too small to matter.",
    "effects": "All outcomes and all pairs of runs; a pair shares the seed and every other value. Tick and bar: mean "
    "over seeds with its 95% Student-t interval. Grey: differences too small to matter.",
    "interactions": "How two axes interact: where the lines are parallel, the effect of one axis does not depend on "
    "the other. Dots: runs. Lines: their means over all other axes and seeds.",
    "divergence": "Mean validation IoU by peak learning rate and warm-up. Runs that diverged score 0, and cells with "
    "such runs show how many. Orange edge: no run diverged below it.",
    "gap": "The generalization gap over epochs: validation error minus training error. Both are measured with the same "
    "weights, in eval mode and without augmentation, the training error on a fixed subset as large as the validation "
    "split. Line: mean over seeds; band: lowest to highest seed. Click a variant in the legend to highlight it.",
    "errors": "Training and validation error over epochs, one panel per variant. Line: mean over seeds; band: lowest "
    "to highest seed.",
    "gap_ends": "The gap at each run's best epoch (by validation IoU) and at its last one: mean over seeds with its "
    "95% interval. The best epoch is chosen on validation, which flatters the gap on validation, not that on test.",
    "splits": "Left: test error against training error; the distance above the diagonal is the gap. Right: test error "
    "against validation error; runs off the diagonal met test scenes that are harder or easier than the validation "
    "scenes, which is a shift between scenes, not overfitting. One point per run.",
    "naive": "The gap of the loss, and what it would seem to be against the running loss that most tools print. Median "
    "over seeds, one panel per variant.",
    "calibration": "Share of correct pixels against mean confidence on the test scenes, pooled over seeds. Below the "
    "diagonal, a network is more confident than it should be.",
    "scenes": "IoU of each test scene, mean over seeds, with the hardest scene at the top.",
    "disagreement": "Share of test pixels on which two runs differ, averaged over pairs of runs. The diagonal compares "
    "seeds of one variant, so it shows what training again would change.",
    "rates": "The learning rate at each update. Variants with the same curve share a line.",
}
