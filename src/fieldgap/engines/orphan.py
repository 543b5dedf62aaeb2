"""An end together with the engine: a stage whose engine was killed must not go on writing beside the next one.

A parent-death signal would not do: a shell may stand between the engine and the stage, and shells do not pass it on.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

ENGINES = ("snakemake", "dvc")
PROC = Path("/proc")


def ancestors(pid: int) -> Iterator[int]:
    """Yields the parent of a process, its parent, and so on, as far as /proc tells."""
    try:
        while pid > 1:
            # The name in parentheses may itself hold spaces and parentheses.
            pid = int((PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()[1])
            yield pid
    except (OSError, ValueError):
        return


def engine_of(pid: int) -> str:
    """-> the engine of a command line `dvc`, `python .../snakemake` or `python -m snakemake`; "" for others."""
    try:
        words = (PROC / f"{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    names = [Path(os.fsdecode(word)).name for word in words[:3]]
    return next((name for name in names if name in ENGINES), "")


def engine_above() -> str:
    """-> the name of the nearest engine above this process, or ""."""
    return next(filter(None, map(engine_of, ancestors(os.getpid()))), "")


def end_with(pid: int) -> None:
    """Sends this process SIGTERM as soon as the process `pid` is gone."""
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        os.kill(os.getpid(), signal.SIGTERM)
        return

    def watch() -> None:
        select.select([ended], [], [])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def end_with_engine() -> None:
    """Binds this process's life to that of the nearest engine above it, if there is one; Linux alone tells."""
    if hasattr(os, "pidfd_open") and (engine := next(filter(engine_of, ancestors(os.getpid())), None)):
        end_with(engine)
