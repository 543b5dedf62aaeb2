"""What trainings said of themselves while they ran, read for MLflow."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldgap.base.files import lines
from fieldgap.base.locks import lives


@dataclass(frozen=True)
class Spooled:
    """A spool, read: times in milliseconds since 1970. `rows` holds each epoch once, with its `time`.

    `status` is running, finished, diverged, or killed: no end, and nobody holds the file.
    """

    key: str
    run: str
    config: dict[str, Any]
    rows: list[dict[str, float]]
    status: str
    started: int
    ended: int


def read(path: Path) -> Spooled | None:
    """-> a spool; None while it holds no start. Of an epoch that a resumed training repeats the first row counts."""
    alive, told = lives(path), list(lines(path))
    starts = [line for line in told if "config" in line]
    if not starts:
        return None
    rows = {line["row"]["epoch"]: {**line["row"], "time": line["time"]} for line in reversed(told) if "row" in line}
    ended = told[-1].get("end")
    return Spooled(
        key=path.stem,
        run=starts[-1]["run"],
        config=starts[-1]["config"],
        rows=[rows[epoch] for epoch in sorted(rows)],
        status=ended or ("running" if alive else "killed"),
        started=starts[0]["time"],
        ended=told[-1]["time"],
    )


def read_all(folder: Path) -> list[Spooled]:
    """-> the spools of a folder, by key; those that vanish meanwhile are passed over."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        with contextlib.suppress(FileNotFoundError):
            found.append(read(path))
    return [each for each in found if each]


def forget(key: str, folder: Path) -> None:
    """Removes a spool unless its training lives."""
    path = folder / f"{key}.jsonl"
    with contextlib.suppress(FileNotFoundError):
        if not lives(path):
            path.unlink()
