"""Show where the time of one training goes on the CPU: forward, loss, backward, step, and everything around them.

    python benchmarks/profile_training.py [EPOCHS]

Reads data/tiles and params.yaml. The loop runs from the first batch to the end of the last epoch; everything before it
is start-up. Evaluation is listed separately, because its forward pass uses the network but trains nothing.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from fieldgap.network import measure
from fieldgap.network.device import prepare
from fieldgap.settings import sections
from fieldgap.settings.params import read
from fieldgap.tiles import batches
from fieldgap.tiles.packed import load
from fieldgap.training import checkpoints, train
from fieldgap.training.run import Run
from fieldgap.training.start import start

OWN = ("forward", "loss", "backward", "step")


class Clock:
    """Seconds spent in each part. Time in a nested part counts for that part only."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.spent: Counter[str] = Counter()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def inner(*given: Any, **named: Any) -> Any:
            part = name if self.run.net.training else f"evaluation: {name}"
            before, began = self.spent.total(), time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                self.spent[part] += time.perf_counter() - began - (self.spent.total() - before)

        return inner


def profiled(epochs: int) -> tuple[float, float, Counter[str]]:
    """Return the seconds of start-up, the seconds of the loop, and the seconds of each part of the loop."""
    settings = read(Path("params.yaml"))
    config = sections.Train(
        **{**settings.train, **next(iter(settings.runs.values())), "epochs": epochs, "device": "cpu"}
    )
    began = time.perf_counter()
    tiles = load(Path("data/tiles"), config.fold, config.split_by)
    run = start(config, tiles, prepare("cpu", config.threads))
    saver = checkpoints.Checkpoints(Path("profile"), "", {})
    clock, started = Clock(run), time.perf_counter()
    parts = {
        "forward": (type(run.net), "forward"),
        "backward": (torch.Tensor, "backward"),
        "step": (type(run.optimizer), "step"),
        "augmentation": (batches, "augmented"),
        "reading tiles": (batches, "batch"),
        "confusion counts": (measure, "confusions"),
        "zeroing gradients": (type(run.optimizer), "zero_grad"),
        "rest of the gradients": (run, "gradients"),
        "copying states": (checkpoints, "tensors_of"),
        "writing states": (checkpoints, "write"),
    }
    with ExitStack() as stack:
        for part, (owner, name) in parts.items():
            stack.enter_context(patch.object(owner, name, clock.timed(part, getattr(owner, name))))
        run.loss = clock.timed("loss", run.loss)
        train.fit(run, lambda row: None, saver.save_if_due)
    saver.remove()
    return started - began, time.perf_counter() - started, clock.spent


def main(epochs: int) -> None:
    startup, loop, spent = profiled(epochs)
    spent["rest of the loop"] = loop - spent.total()
    print(f"start-up {startup:.2f} s after the imports, loop of {epochs} epochs {loop:.2f} s")
    for part, seconds in spent.most_common():
        print(f"{part:32} {seconds / loop:7.2%}")
    evaluation = sum(seconds for part, seconds in spent.items() if part.startswith("evaluation"))
    own, forward = sum(spent[part] for part in OWN), spent["evaluation: forward"]
    print(f"{', '.join(OWN)}: {own / loop:.2%} of the loop")
    print(f"the same plus the forward pass of evaluation: {(own + forward) / loop:.2%} of the loop")
    print(f"the same, relative to the loop without evaluation: {own / (loop - evaluation):.2%}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 18)
