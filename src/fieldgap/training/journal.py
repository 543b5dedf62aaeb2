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
from typing import Any

from fieldgap.base import names


class Spool:
    """The lines of a training under way. Trouble with its file is said once and never raised."""

    def __init__(self, key: str, run: str, config: Mapping[str, Any], done: Sequence[Mapping[str, float]]) -> None:
        """Begins the lines of a training, or goes on with those of an earlier attempt; `done` are the epochs it has."""
        self.path, self.quiet = names.SPOOLS / f"{key}.jsonl", False
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
