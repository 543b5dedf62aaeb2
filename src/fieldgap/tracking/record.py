"""Stage record: the runs of a grid mirrored into MLflow, as parcels. No stage reads them back.

A store in trouble costs no result: what it does not take waits beside the spools, and the next record brings it.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldgap.analysis.runs import read_runs
from fieldgap.base import names
from fieldgap.base.files import write_rows
from fieldgap.tracking import entries, outbox
from fieldgap.tracking.spools import Spooled, read_all
from fieldgap.tracking.spools import forget as forget_spool

if TYPE_CHECKING:
    from fieldgap.settings.sections import Record
    from fieldgap.tracking.outbox import Parcel
    from fieldgap.tracking.store import Store


class Delivery:
    """Parcels on their way to a store, in a thread, so that a store that does not answer can be left behind."""

    def __init__(self, waiting: Iterable[Parcel], config: Record) -> None:
        self.waiting, self.config = list(waiting), config
        self.delivered: set[str] = set()
        self.trouble = ""
        self.store: Store | None = None

    def work(self) -> None:
        from fieldgap.tracking.registry import crown
        from fieldgap.tracking.store import Store

        try:
            self.store = Store(self.config.store, self.config.experiment)
            self.store.open()
            for parcel in self.waiting:
                run_id = self.store.put(parcel)
                if parcel.model:
                    with self.store.alone():
                        crown(self.store, run_id, parcel)
                self.delivered.add(parcel.key)
            if current := {parcel.key for parcel in self.waiting if parcel.tags.get("current") == "true"}:
                self.store.only_current(current)
        except Exception as error:  # Whatever a store or a disk does, the results stand.
            self.trouble = " ".join(str(error).split())[:300] or type(error).__name__

    def run(self) -> tuple[set[str], str]:
        """-> the keys that were delivered, and what went wrong: the store refused, or took more than `wait_seconds`."""
        thread = threading.Thread(target=self.work, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(0.05)
            if self.store and self.store.excess() > self.config.wait_seconds:
                return set(self.delivered), f"answers took {self.config.wait_seconds:g} seconds too long"
        return self.delivered, self.trouble


def keep(waiting: Iterable[Parcel]) -> None:
    """Lays parcels aside for the next record; where even that fails, the results themselves are still there."""
    try:
        for parcel in waiting:
            outbox.keep(parcel, names.SPOOLS)
    except OSError as error:
        print(f"{names.SPOOLS}: {error}; what MLflow lacks can be recorded while runs/ holds it", file=sys.stderr)


def others(keys: set[str], spools: Mapping[str, Spooled]) -> list[Parcel]:
    """-> what waits of earlier grids: whole parcels, and trainings that ended without their results."""
    kept = [parcel for parcel in outbox.kept(names.SPOOLS) if parcel.key not in keys]
    known = {*keys, *(parcel.key for parcel in kept)}
    ended = [entries.of_spool(each) for each in spools.values() if each.key not in known and each.status != "running"]
    return [dataclasses.replace(each, tags={**each.tags, "current": "false"}) for each in (*kept, *ended)]


def mark_due(path: Path, again: bool) -> None:
    """Writes whether the record is due again, and if it is, a link to DVC's lock file instead.

    DVC runs no stage whose outputs have the bytes that it noted, and these change as soon as it has noted them.
    """
    path.unlink(missing_ok=True)
    if again and Path("dvc.lock").is_file():
        path.symlink_to(os.path.relpath("dvc.lock", path.parent))
    else:
        path.write_text("yes\n" if again else "no\n")


def run(runs: Path, reports: Path, tiles: Path, out: Path, grid: Mapping[str, dict[str, Any]], config: Record) -> bool:
    """Brings each run of the grid and the ablation into MLflow, once, and with them what waited since earlier.

    The file `out` lists each run's key, and whether it is recorded. -> whether the store took all; if not,
    the record is due again.
    """
    finished = read_runs(runs, grid)
    spools = {each.key: each for each in read_all(names.SPOOLS)}
    made = entries.made_of(finished, spools, tiles, reports, out, int(time.time() * 1000))
    waiting = [*made, *others({parcel.key for parcel in made}, spools)]
    delivered, trouble = Delivery(waiting, config).run()
    left = [parcel for parcel in waiting if parcel.key not in delivered]
    if trouble:
        keep(parcel for parcel in left if parcel.whole)
        print(
            f"fieldgap record: {config.store} takes no records ({trouble}); {len(left)} of {len(waiting)} wait in "
            f"{names.SPOOLS} for the next record",
            file=sys.stderr,
        )
    for key in delivered:
        outbox.forget(key, names.SPOOLS)
        forget_spool(key, names.SPOOLS)
    children = [parcel for parcel in made if parcel.kind == "run"]
    write_rows(
        out,
        ({"run": each.name, "key": each.key, "recorded": str(each.key in delivered).lower()} for each in children),
    )
    mark_due(out.with_suffix(".due"), bool(trouble))
    return not trouble
