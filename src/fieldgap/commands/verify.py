"""Command verify: every kept byte read again, since a disk that flips one changes neither size nor time of a file."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fieldgap.base.errors import InputError
from fieldgap.engines import adoption, blobs, results
from fieldgap.engines.digests import digest

Receipt = dict[str, Any]


def receipts() -> Iterator[tuple[Path, Receipt]]:
    """Yields every receipt. Raises InputError for one that cannot be read."""
    for path in sorted(results.RECEIPTS.glob("*/*.json")):
        try:
            yield path, json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: cannot be read ({error}); remove it, and what it told of is made again"
            ) from None


def known_files(told: list[Receipt]) -> dict[Path, set[str]]:
    """-> the digests that each path had as a result, by receipts and by dvc.lock; what a mirror wrote is none."""
    known: dict[Path, set[str]] = defaultdict(set)
    for receipt in told:
        if receipt["stage"] not in results.MIRRORS:
            for label, md5 in receipt["outputs"].items():
                known[Path(receipt["paths"][label])].add(md5)
    for entry in adoption.locked():
        if not any(f"fieldgap {stage} " in entry["cmd"] for stage in results.MIRRORS):
            for path, md5 in adoption.files_of(entry.get("outs") or []):
                known[Path(path)].add(md5)
    return known


def damaged_blobs(known: dict[Path, set[str]]) -> Iterator[str]:
    """Yields what the cache holds under a wrong name, with the files that it would have become."""
    paths = {md5: path for path, each in known.items() for md5 in each}
    for blob in sorted(blobs.cache().glob("??/*")):
        md5 = blob.parent.name + blob.name.removesuffix(".dir")
        if digest(blob) != md5:
            yield f"{blob}: is damaged" + (f"; it was {paths[md5]}" if md5 in paths else "")


def run() -> None:
    """Reads again what the cache holds and what stands in the folders. Raises InputError that names all damage."""
    found = list(receipts())
    wrong = [
        f"{path}: was changed"
        for path, each in found
        if results.hashed(each["stage"], each["values"], each["inputs"], each["sources"]) != path.stem
    ]
    known = known_files([receipt for _, receipt in found])
    wrong += damaged_blobs(known)
    there = [path for path in sorted(known) if path.is_file()]
    wrong += [f"{path}: is no result that is known here" for path in there if digest(path) not in known[path]]
    if wrong:
        mend = "remove these files and run either engine, which makes them again"
        raise InputError("\n  ".join([f"{len(wrong)} files are not what was kept:", *wrong, mend]))
    print(
        f"{len(found)} receipts, {sum(1 for _ in blobs.cache().glob('??/*'))} files in the cache and {len(there)} "
        "results are what they were"
    )
