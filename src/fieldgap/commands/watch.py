"""Command watch: mirror trainings that are under way into MLflow, epoch by epoch.

It ends with the process that started it: an engine, the UI or a shell. Trainings do not know of it, so nothing that
happens to it or to the store slows them down.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fieldgap.base import locks
from fieldgap.tracking.spools import read_all

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    from fieldgap.settings.sections import Record
    from fieldgap.tracking.spools import Spool
    from fieldgap.tracking.store import Store

SECONDS = 1.0  # Between two looks at the spools.
RETRY_SECONDS = 10.0
SWITCH = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"


class Mirror:
    """Brings the spools of a folder into a store, each when it has changed."""

    def __init__(self, folder: Path, config: Record) -> None:
        self.folder, self.config = folder, config
        self.sent: dict[str, tuple[int, str]] = {}  # By key, the number of epochs and the status in the store.
        self.store: Store | None = None
        self.monitors: dict[str, SystemMetricsMonitor] = {}
        self.complained = False

    def sync(self, leaving: bool) -> None:
        """Send each spool that changed. With `leaving`, a training that goes on does not stay RUNNING in MLflow.

        Raises:
            Exception: What went wrong first. The other spools are sent nevertheless.
        """
        problem: Exception | None = None
        for spool in read_all(self.folder):
            try:
                left = leaving and spool.status == "running"
                self._sync(dataclasses.replace(spool, status="left") if left else spool)
            except Exception as error:
                problem = problem or error
            if self.store is None:  # It could not be opened, for none of them.
                break
        if problem:
            raise problem

    def _sync(self, spool: Spool) -> None:
        state = (len(spool.rows), spool.status)
        if self.sent.get(spool.key) != state:
            self._send(spool)
            self.sent[spool.key] = state

    def _send(self, spool: Spool) -> None:
        # Imported at the first need: beside a pipeline with nothing to train this process stays small.
        from fieldgap.tracking.entries import spool_entry
        from fieldgap.tracking.store import Store
        from fieldgap.tracking.upload import put

        if self.store is None:
            store = Store(self.config.store, self.config.experiment)
            store.open()
            self.store = store
        run_id = put(self.store, spool_entry(spool)).info.run_id
        self._monitor(run_id, self.store.uri, spool.status == "running")

    def _monitor(self, run_id: str, uri: str, running: bool) -> None:
        """Log the load of processor, memory, disk and GPU to a run, if MLflow's own switch asks for it."""
        if running and run_id not in self.monitors and os.environ.get(SWITCH) == "true":
            from fieldgap.tracking.client import system_metrics

            self.monitors[run_id] = system_metrics(run_id, uri)
        elif not running and (monitor := self.monitors.pop(run_id, None)):
            monitor.finish()

    def attempt(self, leaving: bool) -> bool:
        """Sync, and return whether that worked. Only the first failure is reported."""
        try:
            self.sync(leaving)
        except Exception as error:  # Whatever a store does: trainings go on, and record comes after them.
            if not self.complained:
                print(
                    f"fieldgap watch: record.store: {self.config.store} does not accept records ({error}); "
                    f"trying again every {RETRY_SECONDS:g} seconds",
                    file=sys.stderr,
                )
            self.complained = True
            return False
        return True


def _end(number: int, frame: object) -> None:
    raise SystemExit(0)


def alone(folder: Path, parent: int) -> bool:
    """Wait until no other process watches these spools. Return False if the parent process ends before that."""
    while os.getppid() == parent:
        if locks.keep(folder / "watch.lock"):
            return True
        time.sleep(SECONDS)
    return False


def run(spools: Path, config: Record) -> None:
    """Mirror the spools of a folder until a signal asks for the end, or the process that started this one is gone."""
    parent = os.getppid()
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    os.nice(19)
    if not alone(spools, parent):
        return
    mirror = Mirror(spools, config)
    try:
        while os.getppid() == parent:
            time.sleep(SECONDS if mirror.attempt(leaving=False) else RETRY_SECONDS)
    finally:
        mirror.attempt(leaving=True)
