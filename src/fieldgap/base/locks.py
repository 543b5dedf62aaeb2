"""Locks between the processes of one machine, one file each.

The system frees a lock when its owner ends, also by `kill -9`, and children of the owner do not keep it. On a network
file system a lock may reach no other machine.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout, lock_descriptor

_POLL_SECONDS = 0.02

_kept: list[FileLock] = []  # A lock that nothing refers to is freed.


def take(path: Path, seconds: float = 0) -> FileLock | None:
    """Take a lock and write the id of this process into its file.

    Args:
        path: The lock's file. It is made, and its folder too, where they are missing.
        seconds: How long to wait while another process has the lock; -1 waits without limit.

    Returns:
        The lock, which this process has until it releases or deletes it, or None if another one still has it.

    Raises:
        OSError: The file cannot be made.
    """
    # Not bound to the thread that takes it. A marker file, which outlives a killed owner, is no substitute for a lock.
    lock = FileLock(path, thread_local=False, poll_interval=_POLL_SECONDS, fallback_to_soft=False, on_acquired=_sign)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        return None
    return lock


def keep(path: Path) -> bool:
    """Take a lock until this process ends. Return False if another process has it."""
    if lock := take(path):
        _kept.append(lock)
    return lock is not None


def discard(lock: FileLock) -> None:
    """Release a lock and remove its file. A process that waits for the lock makes a new one."""
    with suppress(OSError):  # Windows removes the file on release.
        Path(lock.lock_file).unlink()
    lock.release()


def held(path: Path) -> bool:
    """Return whether a process has the lock. A file that is missing or not ours to write counts as free."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not any(_free(descriptor) for _ in range(2))
    finally:
        os.close(descriptor)


def owner(path: Path) -> str:
    """Return the process id in a lock's file, or "?" when the owner has just left."""
    with suppress(OSError):
        return path.read_text() or "?"
    return "?"


def _free(descriptor: int) -> bool:
    if lock_descriptor(descriptor, blocking=False):
        return True
    time.sleep(0.01)  # Another process may be looking as well, which takes it microseconds.
    return False


def _sign(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
