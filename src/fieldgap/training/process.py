"""One process a run: a lock that lasts as long as the process, so that no two ever write into one folder."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from fieldgap.base.errors import InputError
from fieldgap.base.locks import lock

WAIT_SECONDS = 60.0  # An orphan ends by itself once its engine is gone, after the step that it is in.


def wait_for(path: Path, out: Path) -> int:
    """-> the descriptor of the locked file. Raises InputError when another process keeps it for WAIT_SECONDS."""
    end, told = time.monotonic() + WAIT_SECONDS, False
    while (descriptor := lock(path)) is None:
        with suppress(FileNotFoundError):
            owner = path.read_text()
            if time.monotonic() > end:
                raise InputError(f"{out}: process {owner} is training this run; let it end, or: kill {owner}")
            if owner and not told:
                print(f"{out}: waiting for process {owner}, which is training this run", file=sys.stderr, flush=True)
                told = True
        time.sleep(0.05)
    return descriptor


def prepare(out: Path) -> None:
    """Makes the folder, removes what a killed process left half-written, and tries whether files can be made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for draft in out.glob(".*.draft"):
            draft.unlink()
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); make room or mend its rights") from None


@contextmanager
def claimed(out: Path, folder: Path) -> Iterator[None]:
    """Makes the folders `out` and `folder` and holds the latter's lock, on which every writer into `out` waits.

    Raises InputError when nothing can be written, before any work is done, or when another process is training this
    run. On a network file system the lock may reach one machine alone.
    """
    try:
        descriptor = wait_for(folder / "lock", out)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); make room or mend its rights") from None
    try:
        prepare(out)
        yield
    finally:
        with suppress(OSError):  # The folder stays while there are states in it.
            (folder / "lock").unlink()
            folder.rmdir()
        os.close(descriptor)


@contextmanager
def on_signals() -> Iterator[Callable[[], int]]:
    """Within it SIGINT and SIGTERM ask for a stop. Yields what tells the signal that asked, or 0.

    A second signal of the same kind does at once what it did outside.
    """
    asked = 0
    outside = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _: FrameType | None) -> None:
        nonlocal asked
        asked = number
        signal.signal(number, outside[signal.Signals(number)])

    for each in outside:
        signal.signal(each, ask)
    try:
        yield lambda: asked
    finally:
        for each, handler in outside.items():
            signal.signal(each, handler)
