"""Stage record: bring the runs of a grid, and their ablation, into MLflow.

If MLflow is down, no result is lost. What it does not accept waits in the outbox, and the next record sends it.
No stage reads anything back from MLflow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldgap.analysis.runs import read_runs
from fieldgap.base import names
from fieldgap.base.errors import InputError, unwritable
from fieldgap.base.files import write_rows
from fieldgap.tracking import entries, outbox, spools

if TYPE_CHECKING:
    from fieldgap.settings.sections import Record
    from fieldgap.tracking.outbox import Entry
    from fieldgap.tracking.spools import Spool
    from fieldgap.tracking.store import Store


class Delivery:
    """Entries on their way to a store, in a thread, so that a store that does not answer can be abandoned."""

    def __init__(self, waiting: Iterable[Entry], config: Record) -> None:
        self.waiting, self.config = list(waiting), config
        self.delivered: set[str] = set()
        self.problem = ""
        self.store: Store | None = None

    def run(self) -> tuple[set[str], str]:
        """Deliver the entries.

        Returns:
            The keys of those that arrived, and what went wrong or "": the store refused one, or its answers were later
            than `record.wait_seconds` allows.
        """
        thread = threading.Thread(target=self._deliver, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(0.05)
            if self.store and self.store.delay() > self.config.wait_seconds:
                return set(self.delivered), f"its answers were {self.config.wait_seconds:g} seconds late"
        return self.delivered, self.problem

    def _deliver(self) -> None:
        with self._noted():
            from fieldgap.tracking.store import Store

            self.store = Store(self.config.store, self.config.experiment)
            self.store.open()
            failed: set[str] = set()
            for entry in self.waiting:
                failed.add(entry.key)
                with self._noted():
                    self._put(self.store, entry)
                    failed.discard(entry.key)
                if not {entry.key, entry.parent} & failed:  # Without its parent, a run has to be sent again.
                    self.delivered.add(entry.key)
            with self._noted():
                self._mark_past(self.store)

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        """Keep what goes wrong first. Whatever MLflow, a store or a disk does, the results are safe."""
        try:
            yield
        except Exception as error:
            self.problem = self.problem or " ".join(str(error).split())[:300] or type(error).__name__

    def _put(self, store: Store, entry: Entry) -> None:
        from fieldgap.tracking.registry import register_champion
        from fieldgap.tracking.upload import put

        run = put(store, entry)
        if entry.model:
            with store.alone():
                register_champion(store, run, entry, entry.model)

    def _mark_past(self, store: Store) -> None:
        from fieldgap.tracking.upload import mark_others_past

        if current := {entry.key for entry in self.waiting if entry.tags.get("current") == "true"}:
            mark_others_past(store, current)


def run(runs: Path, reports: Path, tiles: Path, out: Path, grid: Mapping[str, dict[str, Any]], config: Record) -> bool:
    """Bring each run of the grid and the ablation into MLflow once, and with them what waits from earlier records.

    Writes a table to `out` with each run's key and whether it is recorded.

    Returns:
        Whether the store accepted everything. If not, the record is due again.
    """
    ended = {spool.key: spool for spool in spools.read_all(names.SPOOLS)}
    made = entries.grid_entries(read_runs(runs, grid), ended, tiles, reports, int(time.time() * 1000))
    if names.project() != Path():  # A workspace is soon gone. The project's own runs stay the current ones.
        for entry in made:
            entry.tags.pop("current", None)
    waiting = [*made, *_earlier({entry.key for entry in made}, ended)]
    delivered, problem = Delivery(waiting, config).run()
    if problem:
        left = [entry for entry in waiting if entry.key not in delivered]
        _save(entry for entry in left if entry.complete)
        print(
            f"fieldgap record: record.store: {config.store} does not accept records ({problem}); "
            f"{len(left)} of {len(waiting)} wait in {names.SPOOLS} for the next record",
            file=sys.stderr,
        )
    for key in delivered:
        outbox.remove(key, names.SPOOLS)
        spools.remove(key, names.SPOOLS)
    _write_table(out, made, delivered)
    _mark_due(out.with_suffix(".due"), bool(problem))
    return not problem


def _earlier(keys: set[str], known_spools: Mapping[str, Spool]) -> list[Entry]:
    """What waits of earlier grids: entries that a store did not accept, and trainings that were never evaluated."""
    saved = [entry for entry in outbox.load(names.SPOOLS) if entry.key not in keys]
    known = {*keys, *(entry.key for entry in saved)}
    trainings = [
        entries.spool_entry(spool)
        for spool in known_spools.values()
        if spool.key not in known and spool.status != "running"
    ]
    return [dataclasses.replace(entry, tags={**entry.tags, "current": "false"}) for entry in (*saved, *trainings)]


def _save(left: Iterable[Entry]) -> None:
    problem: Exception | None = None
    for entry in left:
        try:
            outbox.save(entry, names.SPOOLS)
        except (OSError, InputError) as error:
            problem = problem or error
    if problem:
        print(
            f"{names.SPOOLS}: cannot be written ({problem}); record again while runs/ holds these results",
            file=sys.stderr,
        )


def _write_table(out: Path, made: Iterable[Entry], delivered: set[str]) -> None:
    rows = [
        {"run": entry.name, "key": entry.key, "recorded": str(entry.key in delivered).lower()}
        for entry in made
        if entry.kind == "run"
    ]
    write_rows(out, rows)


def _mark_due(path: Path, due: bool) -> None:
    """Write whether the record is due again.

    If it is, the file becomes a link to DVC's lock file. DVC skips a stage whose outputs have the bytes that it noted,
    and these change as soon as it has noted them.
    """
    try:
        path.unlink(missing_ok=True)
        if due and Path("dvc.lock").is_file():
            path.symlink_to(os.path.relpath("dvc.lock", path.parent))
        else:
            path.write_text("yes\n" if due else "no\n")
    except OSError as error:
        raise unwritable(path, error) from None
