"""Trainings under way mirrored into MLflow, epoch by epoch, by a process that is in nobody's way.

It ends with the process that started it: an engine, the UI, a shell. Trainings neither know it nor wait for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldgap.tracking.spools import read_all

if TYPE_CHECKING:
    from fieldgap.settings.sections import Record
    from fieldgap.tracking.store import Store

SECONDS = 1.0  # Between two glances at the spools.
REST = 10.0  # After trouble with the store.


class Mirror:
    """What of the spools is already in the store: for each its size and whether it lived, at the last delivery."""

    def __init__(self, folder: Path, config: Record) -> None:
        self.folder, self.config = folder, config
        self.seen: dict[str, tuple[int, str]] = {}
        self.store: Store | None = None
        self.monitors: dict[str, Any] = {}
        self.said = False

    def sync(self, leaving: bool) -> None:
        """Delivers each spool that changed. A training that goes on when the mirror leaves is no longer RUNNING."""
        for spooled in read_all(self.folder):
            from fieldgap.tracking import entries

            status = "left" if leaving and spooled.status == "running" else spooled.status
            state = (len(spooled.rows), status)
            if self.seen.get(spooled.key) != state:
                run = self.opened().put(entries.of_spool(dataclasses.replace(spooled, status=status)))
                self.seen[spooled.key] = state
                self.monitor(run, status == "running")

    def opened(self) -> Store:
        """-> the store, loaded at the first need: a watch beside a pipeline with nothing to train costs nothing."""
        if self.store is None:
            from fieldgap.tracking.store import Store

            store = Store(self.config.store, self.config.experiment)
            store.open()
            self.store = store
        return self.store

    def monitor(self, run: str, running: bool) -> None:
        """Samples processor, memory, disk and GPU into the run where MLflow's own switch asks for it."""
        if running and run not in self.monitors and os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING") == "true":
            from fieldgap.tracking.store import system_metrics

            self.monitors[run] = system_metrics(run, self.config.store)
        elif not running and (monitor := self.monitors.pop(run, None)):
            monitor.finish()

    def attempt(self, leaving: bool) -> bool:
        """-> whether the store took all; its trouble is said once."""
        try:
            self.sync(leaving)
        except Exception as error:  # Whatever a store does, the trainings go on and record comes after them.
            if not self.said:
                print(f"fieldgap watch: {self.config.store} takes no records ({error}); trying on", file=sys.stderr)
            self.said = True
            return False
        return True


def terminated(number: int, frame: object) -> None:
    raise SystemExit(0)


def alone(folder: Path, parent: int) -> bool:
    """Waits until no other watch of these spools lives. -> False when the process that started this one ended."""
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(folder / "watch.lock", os.O_CREAT | os.O_RDWR)  # Held until this process ends.
    while os.getppid() == parent:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(SECONDS)
    return False


def run(spools: Path, config: Record) -> None:
    """Mirrors the spools of a folder until it is told to end, or the process that started it has ended."""
    parent = os.getppid()
    signal.signal(signal.SIGTERM, terminated)
    signal.signal(signal.SIGINT, terminated)
    os.nice(19)
    if not alone(spools, parent):
        return
    mirror = Mirror(spools, config)
    try:
        while os.getppid() == parent:
            time.sleep(SECONDS if mirror.attempt(leaving=False) else REST)
    finally:
        mirror.attempt(leaving=True)
