"""One process per run, and signals that stop it between two steps."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from filelock import FileLock

from fieldgap.base import locks
from fieldgap.base.errors import InputError, unwritable

WAIT_SECONDS = 60.0  # An orphan ends by itself once its engine is gone, after the step that it is in.


@contextmanager
def claimed(out: Path, path: Path) -> Iterator[None]:
    """Make the folder `out` and let no other process train into it within the block.

    Args:
        out: Folder of the run's results.
        path: File of the lock. On a network file system it may reach no other machine.

    Raises:
        InputError: Another process trains this run, or a file cannot be written.
    """
    try:
        lock = _wait_for(path, out)
    except OSError as error:
        raise unwritable(path.parent, error) from None
    try:
        _prepare(out)
        yield
    finally:
        locks.discard(lock)


@contextmanager
def on_signals() -> Iterator[Callable[[], int]]:
    """Turn SIGINT and SIGTERM within the block into a request to stop.

    A second signal of the same kind acts as it did outside.

    Yields:
        A function that returns the number of the signal that came, or 0.
    """
    asked = 0
    outside = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _: FrameType | None) -> None:
        nonlocal asked
        asked = number
        signal.signal(number, outside[signal.Signals(number)])

    for number in outside:
        signal.signal(number, ask)
    try:
        yield lambda: asked
    finally:
        for number, handler in outside.items():
            signal.signal(number, handler)


def _wait_for(path: Path, out: Path) -> FileLock:
    if lock := locks.take(path):
        return lock
    owner = locks.owner(path)
    print(f"{out}: waiting for process {owner}, which is training this run", file=sys.stderr, flush=True)
    if lock := locks.take(path, WAIT_SECONDS):
        return lock
    owner = locks.owner(path)
    raise InputError(f"{out}: process {owner} is training this run; let it end, or: kill {owner}")


def _prepare(out: Path) -> None:
    # Find out before the work is done whether its results can be written.
    try:
        out.mkdir(parents=True, exist_ok=True)
        for draft in out.glob(".*.draft"):  # Left by a killed process.
            draft.unlink()
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise unwritable(out, error) from None
