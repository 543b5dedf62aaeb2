"""The spool of a training: what it says of itself while it runs, in a file from which MLflow learns of it later.

The lines are JSON: one at each start, one per epoch, one at the end. While the lock beside the file is held, the
training is running. It is no declared output, and nothing heavy is imported, so that neither an engine nor a network
can be in its way.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fieldgap.base import locks, names

_WAIT_SECONDS = 1.0  # For processes that look whether the lock is held.


class Spool:
    """A spool to write. If its file fails, that is said once, and the training goes on without it."""

    def __init__(
        self, key: str, run: str, config: Mapping[str, Any], done: Sequence[Mapping[str, float]], *, anew: bool = False
    ) -> None:
        """Open the spool of a training, or go on with that of an earlier attempt.

        Args:
            key: Digest of all that the result depends on.
            run: Name of the run.
            config: Resolved values of the run.
            done: Rows of the epochs that the run already has.
            anew: Whether to drop what earlier attempts wrote, which is no part of this training.
        """
        self.path = names.SPOOLS / f"{key}.jsonl"
        self._failed = False
        self._stack = contextlib.ExitStack()
        with self._harmless():
            self._open("wb" if anew else "ab")
            self._write(run=run, config=config)
            for row in done:
                self._write(row=row)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Add the row of an epoch, with its key `epoch` counted from 1."""
        with self._harmless():
            self._write(row=row)

    def end(self, status: str) -> None:
        """Add the last line, with the status finished or diverged. A training without it was killed."""
        with self._harmless():
            self._write(end=status)

    def close(self) -> None:
        """Close the file and release its lock."""
        self._stack.close()

    def _open(self, mode: str) -> None:
        lock = locks.take(names.lock_of(self.path), _WAIT_SECONDS)
        if lock is None:
            raise OSError("another process trains the same run")
        self._stack.callback(locks.discard, lock)
        self._file = self._stack.enter_context(self.path.open(mode, buffering=0))
        if self._file.seek(0, io.SEEK_END):
            self._file.write(b"\n")  # A killed training may have torn its last line; an empty one does no harm.

    def _write(self, **line: object) -> None:
        if not self._failed:
            self._file.write(f"{json.dumps({'time': int(time.time() * 1000), **line})}\n".encode())

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failed = True
            print(f"{self.path}: {error}; MLflow will see this run at its end", file=sys.stderr)


@contextlib.contextmanager
def spooling(
    key: str, run: str, config: Mapping[str, Any], done: Sequence[Mapping[str, float]], *, anew: bool = False
) -> Iterator[Spool]:
    """Yield an open spool, and close it after the block. The arguments are those of `Spool`."""
    spool = Spool(key, run, config, done, anew=anew)
    try:
        yield spool
    finally:
        spool.close()
