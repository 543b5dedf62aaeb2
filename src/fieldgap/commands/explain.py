"""Command explain: which stages made a run, from what, with which values, under which engine."""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fieldgap.base.errors import InputError
from fieldgap.base.files import lines
from fieldgap.base.names import EVALUATED, TRAINED
from fieldgap.commands.verify import Receipt, receipts
from fieldgap.engines import results
from fieldgap.engines.digests import Digests
from fieldgap.engines.rooms import PACKAGE

RUNS = Path("runs")
FEW = 10
Maker = Mapping[tuple[str, str | None], Receipt]


def makers(found: Iterator[tuple[Path, Receipt]]) -> Maker:
    """-> the receipt that tells of a path with a digest; the newest where there are several."""
    newest = sorted(found, key=lambda each: each[0].stat().st_mtime_ns)
    return {
        (receipt["paths"][label], md5): receipt for _, receipt in newest for label, md5 in receipt["outputs"].items()
    }


def chain(made_by: Maker, files: Mapping[str, str]) -> dict[str, Receipt]:
    """Paths with digests -> the receipts of all that made them, by key, what came first first."""
    found: dict[str, Receipt] = {}
    for receipt in {each["key"]: each for file in files.items() if (each := made_by.get(file))}.values():
        read = {receipt["paths"][label]: md5 for label, md5 in receipt["inputs"].items()}
        found |= chain(made_by, read)
        found[receipt["key"]] = receipt
    return found


def events() -> dict[str, list[str]]:
    """-> by key, when a stage worked or was restored, and under which engine."""
    found: dict[str, list[str]] = defaultdict(list)
    if results.LOG.exists():
        for line in lines(results.LOG):  # Nodes of a cluster may tear each other's.
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line["time"]))
            found[line["key"]].append(f"{line['how']} at {at} under {line['engine'] or 'no engine'}: {line['out']}")
    return found


def spelt(values: Any, name: str = "") -> Iterator[str]:
    """Yields nested values as `name value`."""
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from spelt(value, f"{name}.{key}".lstrip("."))
    else:
        yield f"{name} {json.dumps(values)}"


def listed(what: str, files: Mapping[str, str]) -> Iterator[str]:
    """Paths with digests -> a line a file, or one for all of a folder that holds more than FEW, over their digests."""
    folders: dict[Path, dict[str, str]] = defaultdict(dict)
    for path, md5 in files.items():
        folders[Path(path).parent][Path(path).name] = md5
    for folder, names in folders.items():
        if len(names) > FEW:
            whole = hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest()
            yield f"  {what} {whole[:32]} {folder}/ ({len(names)} files)"
        else:
            yield from (f"  {what} {md5} {folder / name}" for name, md5 in names.items())


def told_of(receipt: Receipt, happened: list[str]) -> Iterator[str]:
    """Yields the lines on one stage."""
    yield f"{receipt['stage']}  key {receipt['key']}"
    yield from (f"  {each}" for each in happened or [f"taken over from {receipt['engine']}"])
    if "commit" in receipt:
        yield f"  commit {receipt['commit'] or 'unknown'}; {', '.join(spelt(receipt['packages']))}"
    yield f"  values: {', '.join(spelt(receipt['values']))}"
    for what in ("inputs", "outputs"):
        yield from listed(what[:-1], {receipt["paths"][label]: md5 for label, md5 in receipt[what].items()})
    yield from (f"  source {md5} {PACKAGE.name}/{room}/" for room, md5 in receipt["sources"].items())


def run(run: Path) -> None:
    """Tells of a run, by its name or folder. Raises InputError when no receipt tells of its files."""
    folder = run if run.is_dir() else RUNS / run
    paths, made_by = [folder / name for name in (*TRAINED, *EVALUATED)], makers(receipts())
    there = {path.as_posix(): md5 for path, md5 in Digests().of(paths).items()}
    if lost := [path for path in paths if (path.as_posix(), there.get(path.as_posix())) not in made_by]:
        raise InputError(f"{lost[0]}: no receipt tells of this file; run either engine, then ask again")
    happened = events()
    for receipt in chain(made_by, there).values():
        print("\n".join(told_of(receipt, happened[receipt["key"]])))
