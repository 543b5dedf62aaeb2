"""Results that DVC vouches for, taken over as receipts: after `dvc pull` into a fresh clone, or an experiment applied.

dvc.lock holds, for each of DVC's stages, its command and the digests of all that it read and wrote.
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

LOCK = Path("dvc.lock")
SOURCES = Path("src") / PACKAGE.name  # As dvc.yaml names them.
DIGEST = re.compile(r"[0-9a-f]{32}(\.dir)?")
Entry = Mapping[str, Any]


def folder_of(path: Path, md5: str) -> dict[str, str]:
    """-> name and MD5 of each file in a folder as it was under a digest of DVC's: by its cache, or as it is on disk if
    that comes to the same; else nothing."""
    with contextlib.suppress(OSError, ValueError):
        return {file["relpath"]: file["md5"] for file in json.loads(blob_of(md5).read_bytes())}
    there = Digests().of(file for file in path.rglob("*") if file.is_file())
    if digest_of_folder(path, there) != md5:
        return {}
    return {file.relative_to(path).as_posix(): each for file, each in there.items()}


def files_of(entries: Iterable[Entry]) -> Iterator[tuple[str, str]]:
    """Yields path and MD5 of each file of dependencies or outputs, those in folders as DVC's cache lists them."""
    for each in entries:
        md5 = str(each.get("md5", ""))
        if md5.endswith(".dir"):
            yield from (
                (f"{each['path']}/{name}", inside) for name, inside in folder_of(Path(each["path"]), md5).items()
            )
        else:
            yield str(each["path"]), md5


def is_whole(entry: object) -> bool:
    """-> whether a stage of dvc.lock has a command, and each of its files a path and a digest.

    DVC writes the file in place, so a kill can leave the first part of it.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("cmd"), str):
        return False
    files = [each for key in ("deps", "outs") for each in entry.get(key) or []]
    return all(isinstance(each, dict) and "path" in each and DIGEST.fullmatch(str(each.get("md5"))) for each in files)


def locked() -> list[Entry]:
    """-> the whole stages of dvc.lock; nothing where there is none that can be read."""
    import yaml

    with contextlib.suppress(OSError, yaml.YAMLError):
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # The one in C is faster, where there is one.
        loaded = loader(LOCK.read_text(encoding="utf-8")).get_single_data()
        stages = loaded.get("stages") if isinstance(loaded, dict) else None
        return [entry for entry in stages.values() if is_whole(entry)] if isinstance(stages, dict) else []
    return []


def job_in(command: str) -> Job | None:
    """-> the job of a command of dvc.lock; None for one that is no stage's, or of earlier flags."""
    with contextlib.suppress(InputError, SystemExit, ValueError), contextlib.redirect_stderr(io.StringIO()):
        *python, name = (words := shlex.split(command))[:4]
        if python != ["python", "-m", "fieldgap"] or name not in STAGES:
            return None
        given = parse(words[3:])
        stage = given.pop("stage")
        return job_of(stage, arguments(STAGES[stage], given))
    return None


def adopted(entry: Entry) -> bool:
    """Writes the receipt of one stage of dvc.lock -> whether it is new."""
    job = job_in(entry["cmd"])
    if job is None or job.stage in results.MIRRORS:
        return False
    read, made = dict(files_of(entry.get("deps") or [])), dict(files_of(entry.get("outs") or []))
    # Of a folder the job lists what it holds now. DVC may have read scenes in it that are gone, so it is another job's.
    beyond = read.keys() - {path.as_posix() for path in job.inputs.values()}
    if not all(Path(path).exists() for path in beyond if SOURCES not in Path(path).parents):
        return False
    try:
        folders = {str(each["path"]): str(each["md5"]) for each in entry.get("deps") or []}
        code = {room: folders[(SOURCES / room).as_posix()] for room in ROOMS[job.stage]}
        inputs = {label: read[path.as_posix()] for label, path in job.inputs.items()}
        outputs = {label: made[path.as_posix()] for label, path in job.outputs.items()}
    except KeyError:  # Something that the result depends on stands in dvc.yaml no more, or not yet.
        return False
    basis = results.Basis(inputs, code, results.hashed(job.stage, job.values, inputs, code))
    if results.outputs_of(job, basis.key):
        return False
    write_json(results.receipt_path(job, basis.key), results.receipt(job, basis, outputs, {"engine": "dvc.lock"}))
    return True


def adopt() -> bool:
    """-> whether dvc.lock vouched for a result that was not known here."""
    return sum(adopted(entry) for entry in locked()) > 0
