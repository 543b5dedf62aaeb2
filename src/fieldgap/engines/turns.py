"""Turns: in one folder, Snakemake works or DVC does.

The trap: two engines at once delete each other's outputs, and take a half-made run for a result. DVC notes which of its
processes writes what, and refuses files that another one writes. So Snakemake is noted there too, by DVC's own code: as
a writer of what stages make, and of the folder as a whole, which experiments put away while they are queued.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from fieldgap.base.errors import InputError
from fieldgap.base.names import dvc_option
from fieldgap.engines.jobs import REPORT_FOLDER, RUN_FOLDER
from fieldgap.engines.validate import VALIDATED

NOTES, LOCK = Path(".dvc/tmp/rwlock"), Path(".dvc/tmp/lock")
EXPERIMENTS, FOLDER = Path(".dvc/tmp/exps/rwlock"), "workspace"  # DVC's name for the folder that it works in.
FORGET = f"rm -f {NOTES} {EXPERIMENTS}"
MADE = (Path("data"), RUN_FOLDER, REPORT_FOLDER, VALIDATED)


class Turn:
    """A turn of this process, asked for before it plans, since it plans by the files as they are.

    Raises:
        InputError: Another engine is at work.
    """

    def __init__(self) -> None:
        with _noted():
            pass
        self.planned = _stamp()
        self.stack = contextlib.ExitStack()

    def take(self) -> None:
        """Begin, and end with this process at the latest.

        Raises:
            InputError: Another engine is at work, or was since this one planned.
        """
        if _stamp() != self.planned:
            raise InputError(f"{NOTES}: DVC was at work here while snakemake planned; start snakemake again")
        atexit.register(self.end)
        self.stack.enter_context(_noted())

    def end(self) -> None:
        """End it, so that DVC may begin."""
        self.stack.close()


def _stamp() -> list[int]:
    return [path.stat().st_mtime_ns for path in (NOTES, EXPERIMENTS) if path.exists()]


@contextlib.contextmanager
def _noted() -> Iterator[None]:
    """Have DVC's notes say that this process writes all that stages make."""
    from dvc.fs import localfs
    from dvc.lock import LockError, make_lock
    from dvc.rwlock import RWLockFileCorruptedError, RWLockFileFormatError, rwlock

    hard = dvc_option("core", "hardlink_lock")[0].lower() == "true"
    written = {NOTES: [str(path.absolute()) for path in MADE], EXPERIMENTS: [FOLDER]}
    EXPERIMENTS.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            # Free while DVC runs a stage, which it has noted.
            with make_lock(str(LOCK.absolute()), tmp_dir=str(LOCK.parent.absolute()), hardlink_lock=hard):
                for notes, paths in written.items():
                    stack.enter_context(rwlock(str(notes.parent.absolute()), localfs, "snakemake", [], paths, hard))
        except LockError as error:
            raise InputError(_refusal(str(error))) from None
        except (RWLockFileCorruptedError, RWLockFileFormatError):
            raise InputError(
                f"{NOTES}: was left half written; end all of DVC, and then: rm -f {NOTES} {EXPERIMENTS}"
            ) from None
        yield


def _refusal(told: str) -> str:
    """Return a sentence that says who is at work, from what DVC says of it."""
    if found := re.search(r"\(PID (\d+)\): (.*)", told):
        process, words = found[1], found[2].split()
        engine = " ".join([os.path.basename(words[0]), *words[1:]]) if words else "an engine"  # noqa: PTH119
        return (
            f"{engine} (process {process}) is at work in this folder; start snakemake when it has ended, or, if that "
            f"process is another program by now, after: {FORGET}"
        )
    return "dvc is at work in this folder; start snakemake when it has ended"
