"""Locks that last as long as the process that holds them."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path


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


def lives(path: Path) -> bool:
    """-> whether a process holds the file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
