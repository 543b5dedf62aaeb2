"""Results that dvc.lock vouches for, taken over as receipts.

The trap: after `dvc pull` into a fresh clone, or `dvc exp apply`, the files are there and no receipt is, so Snakemake
would make everything again. dvc.lock holds the command of each stage and the digests of all that it read and wrote.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fieldgap.base import untrusted
from fieldgap.base.errors import InputError
from fieldgap.base.files import is_draft
from fieldgap.engines import receipts, results
from fieldgap.engines.blobs import blob_of
from fieldgap.engines.commandline import arguments, parse
from fieldgap.engines.digests import Digests, digest_of_folder
from fieldgap.engines.jobs import Job, job_of
from fieldgap.engines.rooms import PACKAGE, ROOMS
from fieldgap.engines.stages import STAGES
from fieldgap.engines.validate import VALIDATED

LOCK = Path("dvc.lock")
SOURCES = Path("src") / PACKAGE.name  # As dvc.yaml names them.
Entry = Mapping[str, Any]


def _listed(md5: str) -> dict[str, str] | None:
    """Return the files that DVC's cache lists for an output folder; None if it does not, or not as DVC would."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = blob_of(md5).read_bytes()
        if f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}.dir" == md5:
            return {untrusted.relative(file["relpath"]): untrusted.md5(file["md5"]) for file in json.loads(content)}
    return None


def _folder(path: Path, md5: str) -> dict[str, str]:
    """Return the digest of each file, by name, in a folder that had this digest.

    A dependency never reaches DVC's cache, so its files are listed from disk if they still come to the same digest.
    """
    if (listed := _listed(md5)) is not None:
        return listed
    there = Digests().of(file for file in path.rglob("*") if file.is_file() and not is_draft(file.name))
    if digest_of_folder(path, there) != md5:
        return {}
    return {file.relative_to(path).as_posix(): each for file, each in there.items()}


def files_of(entries: Iterable[Entry]) -> Iterator[tuple[str, str]]:
    """Yield path and digest of each file of dependencies or outputs, folders file by file."""
    for each in entries:
        md5 = str(each.get("md5", ""))
        if md5.endswith(".dir"):
            yield from ((f"{each['path']}/{name}", inside) for name, inside in _folder(Path(each["path"]), md5).items())
        else:
            yield str(each["path"]), md5


def _is_whole(entry: object) -> bool:
    """Return whether a stage of dvc.lock is complete. DVC writes the file in place, so a kill can cut it off."""
    if not isinstance(entry, dict) or not isinstance(entry.get("cmd"), str):
        return False
    try:
        for each in (each for key in ("deps", "outs") for each in entry.get(key) or []):
            untrusted.md5(each["md5"])
            if not str.isprintable(each["path"]):
                return False
    except (ValueError, KeyError, TypeError):
        return False
    return True


def locked() -> list[Entry]:
    """Return the complete stages of dvc.lock; none if it cannot be read."""
    import yaml

    with contextlib.suppress(OSError, yaml.YAMLError):
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # The loader in C is faster.
        loaded = loader(LOCK.read_text(encoding="utf-8")).get_single_data()
        stages = loaded.get("stages") if isinstance(loaded, dict) else None
        return [entry for entry in stages.values() if _is_whole(entry)] if isinstance(stages, dict) else []
    return []


def _job_in(command: str) -> Job | None:
    """Return the job of a command in dvc.lock, or None if it is not a stage of today's flags."""
    with contextlib.suppress(InputError, SystemExit, ValueError), contextlib.redirect_stderr(io.StringIO()):
        *python, name = (words := shlex.split(command))[:4]
        if python != ["python", "-m", "fieldgap"] or name not in STAGES:
            return None
        given = parse(words[3:])
        stage = given.pop("stage")
        return job_of(stage, arguments(STAGES[stage], given))
    return None


def _adopted(entry: Entry) -> bool:
    """Write the receipt of one stage of dvc.lock and return whether it is new."""
    job = _job_in(entry["cmd"])
    if job is None or job.stage in receipts.MIRRORS:
        return False
    read, made = dict(files_of(entry.get("deps") or [])), dict(files_of(entry.get("outs") or []))
    # A job lists the scenes that are in its folder now. If DVC read scenes that are gone since, it was another job.
    beyond = read.keys() - {path.as_posix() for path in (VALIDATED, *job.inputs.values())}
    if not all(Path(path).exists() for path in beyond if SOURCES not in Path(path).parents):
        return False
    try:
        folders = {str(each["path"]): str(each["md5"]) for each in entry.get("deps") or []}
        code = {room: folders[(SOURCES / room).as_posix()] for room in ROOMS[job.stage]}
        inputs = {label: read[path.as_posix()] for label, path in job.inputs.items()}
        outputs = {label: made[path.as_posix()] for label, path in job.outputs.items()}
    except KeyError:  # dvc.yaml has changed, so the lock entry lacks something that the result depends on.
        return False
    basis = results.Basis(inputs, code, results.hashed(job.stage, job.values, inputs, code))
    if results.outputs_of(job, basis.key):
        return False
    receipts.write(results.receipt(job, basis, outputs, {"engine": "dvc.lock"}))
    return True


def adopt() -> bool:
    """Take over all results of dvc.lock and return whether any was new."""
    return sum(_adopted(entry) for entry in locked()) > 0
