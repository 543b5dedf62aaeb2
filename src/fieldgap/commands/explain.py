"""Command explain: say which stages made a run, from which files, with which values and code, under which engine."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json_lines
from fieldgap.base.names import EVALUATED, TRAINED
from fieldgap.commands.verify import receipts
from fieldgap.engines.adoption import LOCK
from fieldgap.engines.digests import Digests
from fieldgap.engines.receipts import LOG, Receipt
from fieldgap.engines.rooms import PACKAGE

RUNS = Path("runs")
FEW = 10  # A folder with more files takes one line.
Output = tuple[str, str | None]  # A path and the digest of its file.


def receipts_by_output(found: Mapping[Path, Receipt]) -> dict[Output, Receipt]:
    """Return for each path and digest the newest receipt that has it as an output."""
    oldest_first = sorted(found.items(), key=lambda item: item[0].stat().st_mtime_ns)
    return {
        (receipt["paths"][label], md5): receipt
        for _, receipt in oldest_first
        for label, md5 in receipt["outputs"].items()
    }


def history(
    made_by: Mapping[Output, Receipt], files: Mapping[str, str], later: frozenset[str] = frozenset()
) -> dict[str, Receipt]:
    """Return the receipts of all that led to some files, by key, in the order of the stages.

    Args:
        made_by: Receipts by output.
        files: Digests by path.
        later: Keys of receipts that came of these files, since a stage may read a file and write the same again.
    """
    earlier: dict[str, Receipt] = {}
    makers = {receipt["key"]: receipt for file in files.items() if (receipt := made_by.get(file))}
    for key, receipt in makers.items():
        if key in later:
            continue
        inputs = {receipt["paths"][label]: md5 for label, md5 in receipt["inputs"].items()}
        earlier |= history(made_by, inputs, later | {key})
        earlier[key] = receipt
    return earlier


def events() -> dict[str, list[str]]:
    """Return by key when a stage ran or was restored, and under which engine, as far as the log can be read."""
    found: dict[str, list[str]] = defaultdict(list)
    with suppress(OSError):
        for line in read_json_lines(LOG):
            with suppress(KeyError, TypeError, ValueError, OverflowError):  # Someone edited the line.
                at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line["time"]))
                found[line["key"]].append(f"{line['how']} at {at} under {line['engine'] or 'no engine'}: {line['out']}")
    return found


def _unlogged(receipt: Receipt) -> str:
    if receipt["engine"] == LOCK.name:
        return f"taken over from {LOCK}"
    return f"worked under {receipt['engine'] or 'no engine'}; when, {LOG} does not say"


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
    yield from (f"  {event}" for event in happened or [_unlogged(receipt)])
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
    folder, (found, unfit) = run if run.is_dir() else RUNS / run, receipts()
    for path in unfit:
        print(f"{path}: was changed, or another version wrote it, so it is left out; remove it", file=sys.stderr)
    paths, made_by = [folder / name for name in (*TRAINED, *EVALUATED)], receipts_by_output(found)
    files = {path.as_posix(): md5 for path, md5 in Digests().of(paths).items()}
    for path in paths:
        if (path.as_posix(), files.get(path.as_posix())) not in made_by:
            raise InputError(f"{path}: is in no receipt; run either engine, then ask again")
    happened = events()
    for receipt in history(made_by, files).values():
        print("\n".join(describe(receipt, happened[receipt["key"]])))
