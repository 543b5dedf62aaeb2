"""Which jobs of a project are due: those whose files on disk are not the result of what they depend on now.

Snakemake knows nothing of files that DVC made, and time stamps say nothing of a file that came from a cache. So the
Snakefile asks here, by digests, and a job that is due finds MARK newer than its results.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from fieldgap.base.errors import InputError
from fieldgap.base.files import write_text
from fieldgap.engines import adoption, results
from fieldgap.engines.digests import Digests
from fieldgap.engines.jobs import calls, job_of
from fieldgap.settings.params import Settings, read

COMMIT = ("dvc", "commit", "--quiet", "--force", "--no-relink")
MARK = Path(".fieldgap/due")
VALUES = "FIELDGAP_VALUES"  # In the environment: the values that the jobs of a running Snakemake are to have.


class Judge:
    """Judges the jobs of one moment; what they share is read once."""

    def __init__(self) -> None:
        self.asked, self.code = Digests(), dict[str, dict[str, str]]()

    def stands(self, stage: str, given: dict[str, Any]) -> bool:
        """-> whether a job's files on disk are its result."""
        if stage not in self.code:
            self.code[stage] = results.code_of(stage, self.asked)
        try:
            job = job_of(stage, given)
        except InputError:  # No scenes: the stage says so itself.
            return False
        basis = results.basis_of(job, self.asked, self.code[stage])
        return basis is not None and results.standing(job, basis.key, self.asked)


def due(settings: Settings) -> set[str]:
    """-> the names of the jobs that are due: their own files do not stand, or those of a job before them."""
    found: set[str] = set()
    judge = Judge()
    for name, before, given in calls(settings):
        if not found.isdisjoint(before) or not judge.stands(name.partition("@")[0], given):
            found.add(name)
    return found


def mark(settings: Settings) -> set[str]:
    """-> the jobs that are due; MARK is new. What DVC vouches for is adopted before. Raises InputError without .dvc."""
    if not results.in_project():
        raise InputError(".dvc: missing, so results cannot be kept; bring it back, or run: dvc init")
    if (found := due(settings)) and adoption.adopt():
        found = due(settings)
    write_text(MARK, str(time.time_ns()))
    os.environ[VALUES] = digest_of(settings)
    return found


def digest_of(settings: Settings) -> str:
    return hashlib.sha256(repr(settings).encode()).hexdigest()


def judged(settings: Settings) -> set[str]:
    """-> no jobs, for the Snakemake of one job on another machine: that it is due was judged where it came from.

    It reads params.yaml anew, perhaps after hours in a queue. Raises InputError when the values are others since.
    """
    if os.environ.get(VALUES, now := digest_of(settings)) != now:
        raise InputError("params.yaml: changed while this job waited; once all jobs have ended, start snakemake again")
    return set()


def tell_dvc(settings: Settings) -> str:
    """Lets DVC note all results that stand, so that `dvc repro` need not make them again -> its complaint, or "".

    DVC knows the values of params.yaml alone, so it is not told of results of other ones.
    """
    if digest_of(settings) != digest_of(read(Path("params.yaml"))):
        return ""
    stale = due(settings)
    names = [name for name, _, _ in calls(settings) if name not in stale] if stale else []
    try:
        done = subprocess.run([*COMMIT, *names], capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        return f"dvc: {error.strerror}"
    return (done.stderr.strip().splitlines() or ["dvc commit failed"])[-1] if done.returncode else ""
