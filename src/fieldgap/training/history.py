"""The row of an epoch in history.csv."""

from __future__ import annotations

import math

from fieldgap.network.measure import measure
from fieldgap.tiles.batches import fixed_subset, steps_per_epoch, tiles_per_step
from fieldgap.training.run import Row, Run

_MEASURED = ("loss", "iou", "accuracy", "background_iou")
COLUMNS = ("epoch", "lr", *(f"{split}_{name}" for split in ("train", "val") for name in _MEASURED), "running_loss")


def measure_epoch(run: Run) -> Row:
    """Return the row of the epoch whose last step has just been taken.

    The train_ columns are measured on a fixed subset of the training tiles, as many as val has, by the code that
    measures val: in eval mode, without augmentation.
    """
    val = run.tiles.indices("val")
    row: Row = {"epoch": len(run.history) + 1, "lr": run.steps[-1]["lr"]}
    for split, indices in (("train", fixed_subset(run.train, len(val))), ("val", val)):
        scores = measure(run.result, run.tiles, indices, run.loss, run.device, run.config.precision)
        row |= {f"{split}_{name}": scores[name] for name in _MEASURED}
    return {**row, "running_loss": _running_loss(run)}


def _running_loss(run: Run) -> float:
    # The mean over the epoch's batches, each measured before its own update.
    size, total = tiles_per_step(run.config, run.train), len(run.train)
    rows = run.steps[-steps_per_epoch(run.config, run.train) :]
    return math.fsum(row["loss"] * min(size, total - size * i) for i, row in enumerate(rows)) / total
