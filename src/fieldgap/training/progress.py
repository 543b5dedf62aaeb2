"""What a run shows of itself after each epoch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from fieldgap.training.journal import Spool
    from fieldgap.training.run import Row


def progress(epochs: int, spool: Spool | None) -> Callable[[Row], None]:
    """Return a function that shows the row of an epoch.

    It moves a bar on a terminal and prints a line elsewhere, and adds the row to the spool, from which MLflow has it.

    Args:
        epochs: Epochs of the whole run.
        spool: The run's spool; None in a process that shows nothing.
    """
    if spool is None:
        return lambda row: None
    bar = tqdm(total=epochs, unit="epoch") if sys.stderr.isatty() else None

    def show(row: Row) -> None:
        spool.epoch(row)
        text = ", ".join(f"{s} loss {row[f'{s}_loss']:.4f} iou {row[f'{s}_iou']:.4f}" for s in ("train", "val"))
        if bar is None:
            print(f"epoch {row['epoch']}/{epochs}: {text}", flush=True)
        else:
            bar.set_postfix_str(text)
            bar.update()

    return show
