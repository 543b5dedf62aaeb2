"""Results that dvc.lock vouches for, taken over as receipts.

The trap: after `dvc pull` into a fresh clone, or `dvc exp apply`, the files are there and no receipt is, so Snakemake
would make everything again. dvc.lock holds the command of each stage and the digests of all that it read and wrote.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fieldgap.base.errors import InputError
from fieldgap.base.files import write_json
from fieldgap.engines import results
from fieldgap.engines.blobs import blob_of
from fieldgap.engines.commandline import arguments, parse
from fieldgap.engines.digests import Digests, digest_of_folder
from fieldgap.engines.jobs import Job, job_of
from fieldgap.engines.rooms import PACKAGE, ROOMS
from fieldgap.engines.stages import STAGES
from fieldgap.engines.validate import VALIDATED

LOCK = Path("dvc.lock")
SOURCES = Path("src") / PACKAGE.name  # As dvc.yaml names them.
DIGEST = re.compile(r"[0-9a-f]{32}(\.dir)?")
Entry = Mapping[str, Any]


def _folder(path: Path, md5: str) -> dict[str, str]:
    """Return the digest of each file, by name, in a folder that had this digest.

    DVC's cache lists an output folder's files. A dependency never reaches the cache, so its files are listed from disk
    if they still come to the same digest.
    """
    with contextlib.suppress(OSError, ValueError):
        return {file["relpath"]: file["md5"] for file in json.loads(blob_of(md5).read_bytes())}
    there = Digests().of(file for file in path.rglob("*") if file.is_file())
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
    files = [each for key in ("deps", "outs") for each in entry.get(key) or []]
    return all(isinstance(each, dict) and "path" in each and DIGEST.fullmatch(str(each.get("md5"))) for each in files)


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
    if job is None or job.stage in results.MIRRORS:
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
    write_json(results.receipt_path(job, basis.key), results.receipt(job, basis, outputs, {"engine": "dvc.lock"}))
    return True


def adopt() -> bool:
    """Take over all results of dvc.lock and return whether any was new."""
    return sum(_adopted(entry) for entry in locked()) > 0
