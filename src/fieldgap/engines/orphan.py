"""Stop a stage when its engine dies.

The trap: after `kill -9` of an engine its stage goes on writing beside the next one, and the mixed files are accepted.
A parent-death signal is not enough, since a shell stands between engine and stage and does not pass it on.
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
    """Yield the parent of a process, its parent, and so on, as far as /proc shows them."""
    try:
        while pid > 1:
            # The name in parentheses may itself hold spaces and parentheses.
            pid = int((PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()[1])
            yield pid
    except (OSError, ValueError):
        return


def engine_of(pid: int) -> str:
    """Return the engine that a process is (`dvc`, `python .../snakemake` or `python -m snakemake`), or ""."""
    try:
        words = (PROC / f"{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    names = [Path(os.fsdecode(word)).name for word in words[:3]]
    return next((name for name in names if name in ENGINES), "")


def engine_above() -> str:
    """Return the name of the nearest engine above this process, or ""."""
    return next(filter(None, map(engine_of, ancestors(os.getpid()))), "")


def _end_with(pid: int) -> None:
    """Send this process SIGTERM as soon as the process `pid` is gone."""
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
    """Tie this process to the nearest engine above it, if there is one; only Linux can tell."""
    if hasattr(os, "pidfd_open") and (engine := next(filter(engine_of, ancestors(os.getpid())), None)):
        _end_with(engine)
