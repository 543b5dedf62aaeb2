"""Command verify: read every kept byte again. A failing disk changes bytes without changing a file's size or time."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from fieldgap.base.errors import InputError
from fieldgap.engines import adoption, blobs, results
from fieldgap.engines.digests import digest

Receipt = dict[str, Any]


def receipts() -> Iterator[tuple[Path, Receipt]]:
    """Yield every receipt with its path. Raises InputError for one that cannot be read."""
    for path in sorted(results.RECEIPTS.glob("*/*.json")):
        try:
            yield path, json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error}); remove it, and its result is made again") from None


def known_digests(found: Sequence[Receipt]) -> dict[Path, set[str]]:
    """Return the digests that each path had as a result, by receipts and by dvc.lock.

    Mirrors are left out, since what they write depends on a store.
    """
    known: dict[Path, set[str]] = defaultdict(set)
    for receipt in found:
        if receipt["stage"] not in results.MIRRORS:
            for label, md5 in receipt["outputs"].items():
                known[Path(receipt["paths"][label])].add(md5)
    for entry in adoption.locked():
        if not any(f"fieldgap {stage} " in entry["cmd"] for stage in results.MIRRORS):
            for path, md5 in adoption.files_of(entry.get("outs") or []):
                known[Path(path)].add(md5)
    return known


def _damaged_blobs(known: Mapping[Path, Set[str]]) -> Iterator[str]:
    paths = {md5: path for path, digests in known.items() for md5 in digests}
    for blob in sorted(blobs.cache().glob("??/*")):
        md5 = blob.parent.name + blob.name.removesuffix(".dir")
        if digest(blob) != md5:
            yield f"{blob}: is damaged" + (f"; it was {paths[md5]}" if md5 in paths else "")


def run() -> None:
    """Read again what the cache holds and which results are on disk. Raises InputError that lists all damage."""
    found = list(receipts())
    wrong = [
        f"{path}: was changed"
        for path, receipt in found
        if results.hashed(receipt["stage"], receipt["values"], receipt["inputs"], receipt["sources"]) != path.stem
    ]
    known = known_digests([receipt for _, receipt in found])
    wrong += _damaged_blobs(known)
    present = [path for path in sorted(known) if path.is_file()]
    wrong += [f"{path}: differs from every result known for it" for path in present if digest(path) not in known[path]]
    if wrong:
        mend = "remove these files and run either engine, which makes them again"
        raise InputError("\n  ".join([f"{len(wrong)} files differ from what was kept:", *wrong, mend]))
    print(
        f"{len(found)} receipts, {sum(1 for _ in blobs.cache().glob('??/*'))} files in the cache and {len(present)} "
        "results are intact"
    )
