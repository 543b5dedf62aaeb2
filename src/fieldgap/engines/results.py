"""Results kept by what they depend on, so that under either engine no work is done twice.

A result's key is taken over its stage, values, input files and sources. Its receipt, in RECEIPTS, names the digests of
its files; their bytes lie in DVC's own cache, once for both engines. Where there is no .dvc there is no project, and
nothing is kept. Must import in milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldgap.base.environment import commit, packages
from fieldgap.base.errors import InputError
from fieldgap.base.files import write_json
from fieldgap.engines import blobs, rooms
from fieldgap.engines.digests import Digests, digest_of_folder
from fieldgap.engines.jobs import Job
from fieldgap.engines.orphan import engine_above

RECEIPTS = Path(".fieldgap/results")
LOG = Path(".fieldgap/log.jsonl")
MIRRORS = ("record",)  # What counts is what they brought to a store last.


@dataclass(frozen=True)
class Basis:
    """What a job's result depends on: digests of inputs by label, of sources by name, and the key over all of it."""

    inputs: dict[str, str]
    sources: dict[str, str]
    key: str


def in_project() -> bool:
    """-> whether results are kept here; not by processes under torchrun, which share the work on one."""
    return Path(".dvc").is_dir() and "WORLD_SIZE" not in os.environ


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
    """-> what a job's result depends on by the files as they are; None while an input is missing."""
    found = asked.of(job.inputs.values())
    if len(found) < len(set(job.inputs.values())):
        return None
    inputs = {label: found[path] for label, path in job.inputs.items()}
    return Basis(inputs, code, hashed(job.stage, job.values, inputs, code))


def current_basis(job: Job) -> Basis | None:
    asked = Digests()
    return basis_of(job, asked, code_of(job.stage, asked))


def receipt_path(job: Job, key: str) -> Path:
    return RECEIPTS / job.stage / f"{key}.json"


def outputs_of(job: Job, key: str) -> dict[Path, str] | None:
    """-> the digest of each of the job's files by its receipt; None without a receipt that fits."""
    if job.store and not job.store.is_file():
        return None
    with suppress(OSError, ValueError, KeyError):
        told = json.loads(receipt_path(job, key).read_bytes())["outputs"]
        if told.keys() == job.outputs.keys():
            return {path: told[label] for label, path in job.outputs.items()}
    return None


def standing(job: Job, key: str, asked: Digests) -> bool:
    """-> whether the job's files on disk are its result, and its own folders hold nothing else."""
    wanted = outputs_of(job, key)
    return wanted is not None and asked.of(wanted) == wanted and not job.strays()


def remove_strays(job: Job) -> None:
    """Removes scenes of an earlier, longer drawing. Raises InputError for a file that no drawing made."""
    for path in job.strays():
        if not re.fullmatch(r"scene_\d{3,}(_mask)?\.png", path.name):
            raise InputError(
                f"{path}: is none of the drawn scenes, which this folder is for; move it to a folder of your own and "
                "name that in data.images and data.masks"
            )
        path.unlink()


def note(job: Job, key: str, how: str) -> None:
    """Adds to the log that a job was worked or restored, when, and under which engine."""
    out = os.path.commonpath(job.outputs.values())
    line = {
        "time": round(time.time(), 3),
        "stage": job.stage,
        "out": out,
        "how": how,
        "engine": engine_above(),
        "key": key,
    }
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def restore(job: Job, basis: Basis) -> bool:
    """Brings a job's known result to where it belongs, without its work -> whether it is there."""
    remove_strays(job)
    if (wanted := outputs_of(job, basis.key)) is None:
        return False
    there = Digests().of(wanted)
    for path, md5 in wanted.items():
        if there.get(path) != md5 and not blobs.fetch(md5, path):
            return False
    note(job, basis.key, "restored")
    return True


def refuse_changes(job: Job, before: Basis, after: Basis | None) -> None:
    """Raises InputError when what a job read is no longer what it was, since nobody knows which of both it read."""
    if after and after.key == before.key:
        return
    was, now = ({**each.inputs, **each.sources} if each else {} for each in (before, after))
    changed = next((name for name in was if was[name] != now.get(name)), job.stage)
    raise InputError(f"{job.inputs.get(changed, changed)}: changed while {job.stage} was at work; run it again")


def receipt(job: Job, basis: Basis, outputs: Mapping[str, str], made: Mapping[str, object]) -> dict[str, Any]:
    """-> all that is to be known of a result: from what, its files, and what is known of how it was `made`."""
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


def keep(job: Job, basis: Basis) -> None:
    """Keeps the result of a job that did its work. Raises InputError when its inputs changed meanwhile."""
    refuse_changes(job, basis, current_basis(job))
    found = Digests().of(job.outputs.values())
    if job.stage in MIRRORS:
        for old in (RECEIPTS / job.stage).glob("*.json"):
            old.unlink()
    blobs.store(found)
    outputs = {label: found[path] for label, path in job.outputs.items()}
    made = {"engine": engine_above(), "commit": commit(), "packages": packages()}
    write_json(receipt_path(job, basis.key), receipt(job, basis, outputs, made))
    note(job, basis.key, "worked")
