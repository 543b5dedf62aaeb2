"""Which jobs are due: those whose files on disk are not the result of what they depend on now.

The trap: Snakemake says "nothing to be done" after DVC made the files of other values, since it judges by time stamps.
So the Snakefile asks here, by digests, and a job that is due gets an input, MARK, that is newer than its results.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fieldgap.base.errors import InputError
from fieldgap.base.files import replacing, write_text
from fieldgap.engines import adoption, results, validate
from fieldgap.engines.digests import Digests
from fieldgap.engines.jobs import Job, calls, job_of
from fieldgap.settings.params import Settings, read

COMMIT = ("dvc", "commit", "--quiet", "--force", "--no-relink")
MARK = Path(".fieldgap/due")
DAY_NS = 24 * 60 * 60 * 10**9
VALUES = "FIELDGAP_VALUES"  # In the environment of a running Snakemake: a digest of the values that it planned with.


class _Judge:
    """Judges jobs at one moment; what they share is read once."""

    def __init__(self) -> None:
        self.asked, self.code = Digests(), dict[str, dict[str, str]]()

    def stands(self, job: Job) -> bool:
        """Return whether a job's files on disk are its result."""
        if job.stage not in self.code:
            self.code[job.stage] = results.code_of(job.stage, self.asked)
        basis = results.basis_of(job, self.asked, self.code[job.stage])
        return basis is not None and results.standing(job, basis.key, self.asked)


def due(settings: Settings) -> tuple[set[str], list[Path]]:
    """Judge all jobs of a project.

    Returns:
        The names of the jobs whose files, or those of a job before them, are not the current result; and the outputs of
        all jobs.
    """
    names: set[str] = set()
    outputs: list[Path] = []
    judge = _Judge()
    for name, before, given in calls(settings):
        job = None
        with suppress(InputError):  # Without scenes, the stage says so itself.
            job = job_of(name.partition("@")[0], given)
            outputs += job.outputs.values()
        if not job or not names.isdisjoint(before) or not judge.stands(job):
            names.add(name)
    return names, outputs


def in_future(path: Path | str, now: int) -> bool:
    """Return whether a file is dated after `now`, in ns; a missing file is not."""
    return max(_dates(path), default=now) > now


def _dates(path: Path | str) -> list[int]:
    """Return when a file was modified, and if it is a link, when that was, too; nothing of a missing file."""
    try:
        info = os.lstat(path)  # Path.lstat is slower, and there may be 100,000 of them.
        if not stat.S_ISLNK(info.st_mode):
            return [info.st_mtime_ns]
        return [info.st_mtime_ns, os.stat(path).st_mtime_ns]  # noqa: PTH116
    except OSError:
        return []


def _mend_dates(outputs: Iterable[Path], now: int) -> None:
    """Date outputs of the future, and of the epoch, which Snakemake takes for no date at all, before `now`.

    One that DVC linked into its cache becomes a file of its own first, since the cache's file is not ours to date.
    """
    for path in outputs:
        if all(0 < date <= now for date in _dates(path)):
            continue
        if path.is_symlink() or path.stat().st_nlink > 1:
            with replacing(path) as draft:
                shutil.copyfile(path, draft)
        os.utime(path, ns=(now - DAY_NS, now - DAY_NS))


def mark(settings: Settings) -> set[str]:
    """Renew MARK and return the jobs that are due, after taking over the results that dvc.lock vouches for."""
    names, outputs = due(settings)
    if names and adoption.adopt():
        names, outputs = due(settings)
    now = time.time_ns()
    _mend_dates(outputs, now)
    write_text(MARK, str(now))
    os.environ[VALUES] = digest_of(settings)
    return names


def digest_of(settings: Settings) -> str:
    """Return a digest of all values that results depend on, including their order."""
    return hashlib.sha256(repr(settings).encode()).hexdigest()


def judged(settings: Settings) -> set[str]:
    """Return no jobs: on another machine, Snakemake runs one job that was found due where it was submitted.

    Raises:
        InputError: params.yaml, read again after perhaps hours in a queue, has other values now.
    """
    if os.environ.get(VALUES, now := digest_of(settings)) != now:
        raise InputError("params.yaml: changed while this job waited; start snakemake again once all jobs have ended")
    return set()


def tell_dvc(settings: Settings) -> str:
    """Have DVC record all current results, so that `dvc repro` does not make them again.

    DVC knows only the values of params.yaml, so results of other values are not recorded.

    Returns:
        DVC's last line of complaint, or "".
    """
    if digest_of(settings) != digest_of(read(Path("params.yaml"))):
        return ""
    stale, _ = due(settings)
    names = ["validate", *(name for name, _, _ in calls(settings) if name not in stale)] if stale else []
    validate.write()
    try:
        done = subprocess.run([*COMMIT, *names], capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        return f"dvc: {error.strerror}"
    return (done.stderr.strip().splitlines() or ["dvc commit failed"])[-1] if done.returncode else ""
