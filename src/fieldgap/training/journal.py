"""What a training says of itself while it runs, in a file of its own. Loads nothing heavy: MLflow reads it later.

A spool lies outside declared outputs, in the working folder, so that neither engine nor network can be in its way.
Its lines are JSON: one at each start, one for each epoch, one at the end. While its file is locked the training lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(".fieldgap/spool")  # Seen from the project's folder, in which every stage runs.


class Spool:
    """The lines of a training under way. Trouble with its file is said once and never raised."""

    def __init__(self, key: str, run: str, config: Mapping[str, Any], done: Sequence[Mapping[str, float]]) -> None:
        """Begins the lines of a training, or goes on with those of an earlier attempt; `done` are the epochs it has."""
        self.path, self.quiet = FOLDER / f"{key}.jsonl", False
        with self.harmless():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = self.path.open("ab", buffering=0)
            if not lock(self.file.fileno()):
                raise OSError("another process trains the same run")
            if self.file.seek(0, io.SEEK_END):
                self.file.write(b"\n")  # The last line of a killed training may be torn; an empty one does no harm.
            self.write(run=run, config=config)
            for row in done:
                self.write(row=row)

    @contextlib.contextmanager
    def harmless(self) -> Iterator[None]:
        """A mirror must not cost a result: when its file fails, the training goes on without it."""
        try:
            yield
        except OSError as error:
            self.quiet = True
            print(f"{self.path}: {error}; MLflow will see this run at its end", file=sys.stderr)

    def write(self, **line: object) -> None:
        if not self.quiet:
            self.file.write(f"{json.dumps({'time': int(time.time() * 1000), **line})}\n".encode())

    def epoch(self, row: Mapping[str, float]) -> None:
        """Adds the row of one epoch, its key `epoch` counted from 1."""
        with self.harmless():
            self.write(row=row)

    def end(self, status: str) -> None:
        """Adds the last line: finished or diverged. A training that ends without it was killed."""
        with self.harmless():
            self.write(end=status)
        self.__exit__()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *error: object) -> None:
        if hasattr(self, "file"):
            self.file.close()


def lock(descriptor: int) -> bool:
    """-> whether this process now holds the file until it closes it; a reader's glance is waited for."""
    for _ in range(20):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


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


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yields what whole lines hold; one that a kill or a full disk tore is passed over."""
    for text in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            yield json.loads(text)


def lives(path: Path) -> bool:
    """-> whether a process holds the file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


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
