"""One process a run: a lock that lasts as long as the process, so that no two ever write into one folder."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fieldgap.errors import InputError

WAIT_SECONDS = 60.0  # An orphan ends by itself once its engine is gone, after the step that it is in.


def lock(path: Path) -> int | None:
    """-> the descriptor of a locked file that holds this process's number, or None while another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):  # Its last owner may remove file and folder at any moment.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                return descriptor
        os.close(descriptor)
    return None


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
