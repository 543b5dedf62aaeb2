"""The files of a finished run."""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import save

from fieldgap.base.environment import packages
from fieldgap.base.files import replacing, write_json, write_rows
from fieldgap.network.device import machine
from fieldgap.training import history
from fieldgap.training.run import Run

_STEPS = ("step", "epoch", "lr", "loss")


def write_outputs(out: Path, run: Run, reason: str, key: str) -> None:
    """Write weights, history.csv, steps.csv, config.json and, last, status.json into the folder `out`.

    Args:
        out: Folder of the run's results.
        run: A run at its end.
        reason: Why the run diverged, or "".
        key: Digest of all that the result depends on.
    """
    if reason:
        print(f"diverged: {reason}", file=sys.stderr, flush=True)
    write_rows(out / "history.csv", run.history, history.COLUMNS)
    write_rows(out / "steps.csv", run.steps, _STEPS)
    for name, tensors in (("weights", run.best if run.config.keep == "best" else run.last), ("best", run.best)):
        with replacing(out / f"{name}.safetensors") as draft:
            draft.write_bytes(save(tensors))
    write_json(out / "config.json", run.resolved())
    status = {"status": "diverged" if reason else "finished", "reason": reason, "epoch": len(run.history)}
    made = {"key": key, "machine": machine(run.device), "packages": packages()}
    write_json(out / "status.json", {**status, "step": len(run.steps), **made})
