"""Checkpoints: states of a run on disk, from which it goes on after a kill.

A checkpoint is a safetensors file, which cannot contain code, and its name contains the SHA-256 of its bytes. It is not
among the declared outputs, because both engines delete those before they run a stage again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
from torch import Tensor

from fieldgap.base.errors import StoppedError, unwritable
from fieldgap.base.files import replacing
from fieldgap.training import parallel
from fieldgap.training.state import restore, tensors_of

if TYPE_CHECKING:
    from fieldgap.training.run import Run

FOLDER = Path(".fieldgap/state")
SHARE = (
    0.01  # Of the time, at most, goes into writing checkpoints; so a kill costs about 100 times what one write does.
)
_KEPT = 2


class Checkpoints:
    """The checkpoints of one run.

    Attributes:
        root: Folder of all checkpoints for the same results, also those of other keys and machines.
        folder: Folder of those from which this run can go on.
        lock: File of the lock whose owner may write them.
    """

    def __init__(self, out: Path, key: str, machine: Mapping[str, Any]) -> None:
        """Find the folders of a run.

        Args:
            out: Folder of the run's results.
            key: Digest of all that the result depends on.
            machine: What the bytes of the result depend on beside the key.
        """
        digest = hashlib.sha256(f"{key} {json.dumps(machine, sort_keys=True)}".encode()).hexdigest()
        self.root = root_of(out)
        self.folder = self.root / f"{digest[:16]}.states"
        self.lock = self.root.with_name(f"{self.root.name}.lock")
        self._saved_at = self._seconds = 0.0

    def resume(self, run: Run) -> None:
        """Bring a run at its start to its newest checkpoint, if there is one."""
        if state := newest(self.folder):
            restore(run, state)
            print(f"goes on after step {len(run.steps)}", flush=True)

    def drop(self) -> None:
        """Remove the checkpoints from which this run could go on. Raises InputError if they stay."""
        try:
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise unwritable(self.folder, error) from None

    def save_or_stop(self, run: Run, number: int) -> None:
        """Save a run when that is due, or at once when a signal has come, and then stop it in all its processes.

        Args:
            run: A run between two steps.
            number: The signal that this process got, or 0.

        Raises:
            StoppedError: One of the run's processes got a signal.
        """
        stop = parallel.anywhere(number > 0, run.device)
        if parallel.rank() == 0:
            (self.save if stop else self.save_if_due)(run)
        if stop:
            where = f"at step {len(run.steps)}; the same command goes on from there"
            raise StoppedError(number or signal.SIGTERM, where)

    def save_if_due(self, run: Run) -> None:
        """Save a run unless that would take more than SHARE of the time."""
        if time.monotonic() - self._saved_at >= self._seconds / SHARE:
            self.save(run)

    def save(self, run: Run) -> None:
        """Write a checkpoint of a run, and remove old ones."""
        began = time.monotonic()
        write(self.folder, len(run.steps), tensors_of(run))
        self._saved_at = time.monotonic()
        self._seconds = self._saved_at - began

    def remove(self) -> None:
        """Remove all checkpoints for the same results. Those that cannot be removed do no harm to a finished run."""
        for folder in self.root.glob("*.states"):
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # It may contain the folders of other runs.
            self.root.rmdir()


def root_of(out: Path) -> Path:
    """Return the folder of all checkpoints of the run whose results are in `out`."""
    here, path = Path.cwd(), out.absolute()
    return FOLDER / (path.relative_to(here) if path.is_relative_to(here) else path.relative_to(path.anchor))


def newest(folder: Path) -> dict[str, Tensor] | None:
    """Return the state in the newest checkpoint of a folder, skipping and naming those that are damaged."""
    for path in sorted(folder.glob("*.safetensors"), reverse=True):
        content = path.read_bytes()
        with suppress(safetensors.SafetensorError):
            if hashlib.sha256(content).hexdigest() == path.stem.partition("-")[2]:
                return safetensors.torch.load(content)
        print(f"{path}: is damaged, so the state before it is used", file=sys.stderr, flush=True)
    return None


def write(folder: Path, step: int, state: dict[str, Tensor]) -> None:
    """Add a checkpoint that survives a power cut, then remove the oldest ones.

    Raises:
        InputError: The disk is full, or may not be written.
    """
    content = safetensors.torch.save(state)
    name = f"{step:09d}-{hashlib.sha256(content).hexdigest()}.safetensors"
    with replacing(folder / name) as draft, draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    for old in sorted(folder.glob("*.safetensors"))[:-_KEPT]:
        with suppress(OSError):  # The next time, perhaps.
            old.unlink()
