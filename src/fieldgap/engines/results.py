"""Results kept by what they depend on, so that nothing is computed twice under either engine.

The trap: both engines delete outputs before they run a stage, and each knows only its own runs. A result's key is a
digest of its stage, values, input files and sources. Its receipt names the digests of its files, and DVC's cache holds
their bytes. Without .dvc there is no project, and nothing is kept. Imports in milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldgap.base.environment import commit, packages
from fieldgap.base.errors import InputError, unwritable
from fieldgap.base.files import remove_drafts
from fieldgap.engines import blobs, forcing, receipts, rooms
from fieldgap.engines.digests import FOLDER, Digests, digest_of_folder
from fieldgap.engines.jobs import Job
from fieldgap.engines.orphan import engine_above
from fieldgap.engines.receipts import LOG, MIRRORS, RECEIPTS

PROJECT = Path(".dvc")


@dataclass(frozen=True)
class Basis:
    """What a job's result depends on: digests of inputs by label and of sources by room, and the key over all of it."""

    inputs: dict[str, str]
    sources: dict[str, str]
    key: str


def in_project() -> bool:
    """Return whether results are kept here. Processes under torchrun share one result, so they keep none."""
    return PROJECT.is_dir() and "WORLD_SIZE" not in os.environ


def check_project() -> None:
    """Refuse to tell or do anything about a project where there is none.

    Raises:
        InputError: The working folder is no project's. It names the project that it is part of, if there is one.
    """
    if not PROJECT.is_dir():
        here = Path.cwd()
        above = next((folder for folder in here.parents if (folder / PROJECT).is_dir()), "the project's folder")
        raise InputError(f"{here}: no project is here, since it has no {PROJECT}; run this again after: cd {above}")


def hashed(stage: str, values: object, inputs: Mapping[str, str], code: Mapping[str, str]) -> str:
    """Return the key of a result: 64 hexadecimal digits over all that it depends on but the machine.

    It is the same wherever the files lie. The order of what `values` hold counts: the first level of an axis is what
    the others are compared with, and the first class is the background.
    """
    parts = {
        "stage": stage,
        "values": values,
        "inputs": dict(sorted(inputs.items())),
        "sources": dict(sorted(code.items())),
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def code_of(stage: str, asked: Digests) -> dict[str, str]:
    """Return the digest of each room that a stage is made of."""
    return {room: digest_of_folder(rooms.PACKAGE / room, asked.of(rooms.files_in(room))) for room in rooms.ROOMS[stage]}


def basis_of(job: Job, asked: Digests, code: dict[str, str]) -> Basis | None:
    """Return what a job's result depends on, by the files as they are; None if an input is missing."""
    digests = asked.of(job.inputs.values())
    if len(digests) < len(set(job.inputs.values())):
        return None
    inputs = {label: digests[path] for label, path in job.inputs.items()}
    return Basis(inputs, code, hashed(job.stage, job.values, inputs, code))


def current_basis(job: Job) -> Basis | None:
    """Return what a job's result depends on now; None if an input is missing."""
    asked = Digests()
    return basis_of(job, asked, code_of(job.stage, asked))


def outputs_of(job: Job, key: str) -> dict[Path, str] | None:
    """Return the digest of each output by the job's receipt; None without a whole receipt that fits."""
    if job.store and not job.store.is_file():
        return None
    with suppress(OSError, ValueError):
        outputs = receipts.read(receipts.path_of(job.stage, key))["outputs"]
        if outputs.keys() == job.outputs.keys():
            return {path: outputs[label] for label, path in job.outputs.items()}
    return None


def standing(job: Job, key: str, asked: Digests) -> bool:
    """Return whether the job's files on disk are its result and its own folders hold nothing else."""
    wanted = outputs_of(job, key)
    return wanted is not None and asked.of(wanted) == wanted and not job.strays()


def tidy(job: Job) -> None:
    """Remove what killed processes left of files for this job or its receipt, and scenes of a longer drawing.

    Raises:
        InputError: A file was not drawn by the demo, so it is not ours to remove.
    """
    remove_drafts({RECEIPTS / job.stage, FOLDER, *(path.parent for path in job.outputs.values())})
    for path in job.strays():
        if not re.fullmatch(r"scene_\d{3,}(_mask)?\.png", path.name):
            raise InputError(
                f"{path}: is not a drawn scene, and only those belong here; move it to a folder of your own and "
                "name that folder in data.images or data.masks"
            )
        _remove(path)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None


def note(job: Job, key: str, how: str) -> None:
    """Log that a job was worked or restored, when, and under which engine."""
    out = os.path.commonpath(job.outputs.values())
    line = {
        "time": round(time.time(), 3),
        "stage": job.stage,
        "out": out,
        "how": how,
        "engine": engine_above(),
        "key": key,
    }
    try:
        LOG.parent.mkdir(parents=True, exist_ok=True)
        with LOG.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
    except OSError as error:
        print(f"{unwritable(LOG, error)}; the result stands", file=sys.stderr, flush=True)


def restore(job: Job, basis: Basis) -> bool:
    """Restore a job's known result without doing its work, and return whether there was one."""
    if (wanted := outputs_of(job, basis.key)) is None:
        return False
    there = Digests().of(wanted)
    for path, md5 in wanted.items():
        if there.get(path) != md5 and not blobs.fetch(md5, path):
            return False
    blobs.store(wanted)  # What an earlier run had no room for.
    note(job, basis.key, "restored")
    return True


def _refuse_changes(job: Job, before: Basis, after: Basis | None) -> None:
    """Refuse to keep a result whose inputs changed while the job was at work.

    Raises:
        InputError: An input or a source has other bytes than before, and nobody knows which the job read.
    """
    if after and after.key == before.key:
        return
    was, now = ({**each.inputs, **each.sources} if each else {} for each in (before, after))
    changed = next((name for name in was if was[name] != now.get(name)), job.stage)
    raise InputError(f"{job.inputs.get(changed, changed)}: changed while {job.stage} was at work; run it again")


def receipt(job: Job, basis: Basis, outputs: Mapping[str, str], made: Mapping[str, object]) -> dict[str, Any]:
    """Return the receipt of a result: what it depends on, its files, and how it was `made`."""
    return {
        "stage": job.stage,
        "key": basis.key,
        **made,
        "values": job.values,
        "inputs": basis.inputs,
        "sources": basis.sources,
        "outputs": outputs,
        "paths": {label: path.as_posix() for label, path in {**job.inputs, **job.outputs}.items()},
    }


def keep(job: Job, basis: Basis, *, forced: bool = False) -> None:
    """Keep the result of a job that did its work. A forced one must have made what is kept already, if anything is.

    Raises:
        InputError: Its inputs changed meanwhile, or a forced job made other files.
    """
    _refuse_changes(job, basis, current_basis(job))
    found = Digests().of(job.outputs.values())
    if job.stage in MIRRORS:
        for old in (RECEIPTS / job.stage).glob("*.json"):
            _remove(old)
    elif forced and (kept := outputs_of(job, basis.key)):
        forcing.refuse_others(receipts.read(receipts.path_of(job.stage, basis.key)), kept, found)
    blobs.store(found)
    outputs = {label: found[path] for label, path in job.outputs.items()}
    made = {"engine": engine_above(), "commit": commit(), "packages": packages()}
    try:
        receipts.write(receipt(job, basis, outputs, made))
    except InputError as error:
        print(f"{error}; the result stands, but it will be made again", file=sys.stderr, flush=True)
    note(job, basis.key, "worked")
