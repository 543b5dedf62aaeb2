"""Command explain: say which stages made a run, from which files, with which values and code, under which engine."""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json_lines
from fieldgap.base.names import EVALUATED, TRAINED
from fieldgap.commands.verify import Receipt, receipts
from fieldgap.engines import results
from fieldgap.engines.digests import Digests
from fieldgap.engines.rooms import PACKAGE

RUNS = Path("runs")
FEW = 10  # A folder with more files takes one line.
Output = tuple[str, str | None]  # A path and the digest of its file.


def receipts_by_output(found: Iterator[tuple[Path, Receipt]]) -> dict[Output, Receipt]:
    """Return for each path and digest the newest receipt that has it as an output."""
    oldest_first = sorted(found, key=lambda item: item[0].stat().st_mtime_ns)
    return {
        (receipt["paths"][label], md5): receipt
        for _, receipt in oldest_first
        for label, md5 in receipt["outputs"].items()
    }


def history(made_by: Mapping[Output, Receipt], files: Mapping[str, str]) -> dict[str, Receipt]:
    """Return the receipts of all that led to some files, by key, in the order of the stages.

    Args:
        made_by: Receipts by output.
        files: Digests by path.
    """
    earlier: dict[str, Receipt] = {}
    makers = {receipt["key"]: receipt for file in files.items() if (receipt := made_by.get(file))}
    for key, receipt in makers.items():
        earlier |= history(made_by, {receipt["paths"][label]: md5 for label, md5 in receipt["inputs"].items()})
        earlier[key] = receipt
    return earlier


def events() -> dict[str, list[str]]:
    """Return by key when a stage ran or was restored, and under which engine."""
    found: dict[str, list[str]] = defaultdict(list)
    if results.LOG.exists():
        for line in read_json_lines(results.LOG):
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line["time"]))
            found[line["key"]].append(f"{line['how']} at {at} under {line['engine'] or 'no engine'}: {line['out']}")
    return found


def _flat(values: Any, name: str = "") -> Iterator[str]:
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from _flat(value, f"{name}.{key}".lstrip("."))
    else:
        yield f"{name} {json.dumps(values)}"


def _files(what: str, files: Mapping[str, str]) -> Iterator[str]:
    folders: dict[Path, dict[str, str]] = defaultdict(dict)
    for path, md5 in files.items():
        folders[Path(path).parent][Path(path).name] = md5
    for folder, names in folders.items():
        if len(names) > FEW:
            digest = hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest()
            yield f"  {what} {digest[:32]} {folder}/ ({len(names)} files)"
        else:
            yield from (f"  {what} {md5} {folder / name}" for name, md5 in names.items())


def describe(receipt: Receipt, happened: list[str]) -> Iterator[str]:
    """Yield the lines about one stage."""
    yield f"{receipt['stage']}  key {receipt['key']}"
    yield from (f"  {event}" for event in happened or [f"taken over from {receipt['engine']}"])
    if "commit" in receipt:
        yield f"  commit {receipt['commit'] or 'unknown'}; {', '.join(_flat(receipt['packages']))}"
    yield f"  values: {', '.join(_flat(receipt['values']))}"
    for what in ("inputs", "outputs"):
        yield from _files(what[:-1], {receipt["paths"][label]: md5 for label, md5 in receipt[what].items()})
    yield from (f"  source {md5} {PACKAGE.name}/{room}/" for room, md5 in receipt["sources"].items())


def run(run: Path) -> None:
    """Print how a run, given by its name or folder, came about.

    Raises:
        InputError: A file of the run is in no receipt.
    """
    folder = run if run.is_dir() else RUNS / run
    paths, made_by = [folder / name for name in (*TRAINED, *EVALUATED)], receipts_by_output(receipts())
    files = {path.as_posix(): md5 for path, md5 in Digests().of(paths).items()}
    for path in paths:
        if (path.as_posix(), files.get(path.as_posix())) not in made_by:
            raise InputError(f"{path}: is in no receipt; run either engine, then ask again")
    happened = events()
    for receipt in history(made_by, files).values():
        print("\n".join(describe(receipt, happened[receipt["key"]])))
