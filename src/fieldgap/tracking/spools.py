"""Spools, which trainings write while they run, read back so that MLflow can show those trainings."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldgap.base import locks, names
from fieldgap.base.files import read_json_lines


@dataclass(frozen=True)
class Spool:
    """What one spool says. Times are in milliseconds since 1970.

    Attributes:
        rows: One per epoch, in order, with `epoch` and `time` beside the columns of history.csv.
        status: running, finished, diverged or killed. Killed means that the spool has no end and its lock is free.
    """

    key: str
    run: str
    config: dict[str, Any]
    rows: list[dict[str, float]]
    status: str
    started: int
    ended: int


def read(path: Path) -> Spool | None:
    """Return a spool, or None while its first line is not written yet.

    A resumed training may repeat epochs; the first row of each counts.
    """
    alive, records = locks.held(names.lock_of(path)), list(read_json_lines(path))
    starts = [record for record in records if "config" in record]
    if not starts:
        return None
    rows = {
        record["row"]["epoch"]: {**record["row"], "time": record["time"]}
        for record in reversed(records)
        if "row" in record
    }
    return Spool(
        key=path.stem,
        run=starts[-1]["run"],
        config=starts[-1]["config"],
        rows=[rows[epoch] for epoch in sorted(rows)],
        status=records[-1].get("end") or ("running" if alive else "killed"),
        started=starts[0]["time"],
        ended=records[-1]["time"],
    )


def read_all(folder: Path) -> list[Spool]:
    """Return the spools of a folder, sorted by key. A file that is removed meanwhile is skipped."""
    spools = []
    for path in sorted(folder.glob("*.jsonl")):
        with contextlib.suppress(FileNotFoundError):
            spools.append(read(path))
    return [spool for spool in spools if spool]


def remove(key: str, folder: Path) -> None:
    """Remove a spool, unless its training is still running."""
    path = folder / f"{key}.jsonl"
    if path.exists() and (lock := locks.take(names.lock_of(path))):
        path.unlink(missing_ok=True)
        locks.discard(lock)
