"""Jobs that people force: they are done again although their result is known, and must come out the same.

The trap: an engine that is told to force a job only runs its stage, which would restore the known result. Snakemake is
asked what it forces before its first job, and tells its stages in the environment. DVC tells its stages nothing, so
they read its command line. The program that takes an experiment from a queue has none that says it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fieldgap.base.environment import packages
from fieldgap.base.errors import InputError
from fieldgap.engines.blobs import cache
from fieldgap.engines.jobs import Job
from fieldgap.engines.orphan import PROC, ancestors, engine_of
from fieldgap.engines.receipts import Receipt, path_of

FORCED = "FIELDGAP_FORCED"  # In the environment of a running Snakemake: the rules and files that it forces, one a line.
EVERYTHING = "*"
DVC_FORCES = re.compile(r"-[hqvispPRk]*f[hqvfispPRk]*|--force(-downstream)?")  # Short flags without a value may be one.


def export(settings: Any) -> None:
    """Tell the stages of this Snakemake which jobs are forced, from its settings of the graph of jobs."""
    named = {*settings.forcerun, *(settings.targets if settings.forcetargets else ())}
    os.environ[FORCED] = EVERYTHING if settings.forceall else "\n".join(sorted(map(os.path.normpath, named)))


def is_forced(job: Job) -> bool:
    """Return whether the engine was told to do this job again; jobs that merely follow a forced one are not forced."""
    named = os.environ.get(FORCED, "").split("\n")
    files = {os.path.normpath(path) for path in job.outputs.values()}
    return (
        EVERYTHING in named
        or not {job.stage, *files}.isdisjoint(named)
        or any(map(_dvc_forces, ancestors(os.getpid())))
    )


def _dvc_forces(process: int) -> bool:
    if engine_of(process) != "dvc":
        return False
    try:
        words = (PROC / f"{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(DVC_FORCES.fullmatch(os.fsdecode(word)) for word in words)


def refuse_others(receipt: Receipt, kept: Mapping[Path, str], found: Mapping[Path, str]) -> None:
    """Refuse files of a forced job that differ from those kept for the same key, which stay as they are.

    Raises:
        InputError: A file differs, so the stage does not repeat here what it once made.
    """
    other = next((path for path, md5 in kept.items() if found.get(path) != md5), None)
    if other is None:
        return
    raise InputError(
        f"{other}: has other bytes than the result kept of the same inputs, values and code, {_reason(receipt)}; "
        "without force the kept one comes back, and to accept a new one, run it again after: "
        f"rm -rf {path_of(receipt['stage'], receipt['key'])} dvc.lock {cache().parents[1] / 'runs'}"
    )


def _reason(receipt: Receipt) -> str:
    if "packages" not in receipt:
        return "which another machine may have made"
    then, now = receipt["packages"], packages()
    changed = [f"{name} {then[name]}, now {now.get(name)}" for name in then if then[name] != now.get(name)]
    return f"which came of {'; '.join(changed)}" if changed else "by the same packages, so the work does not repeat"
