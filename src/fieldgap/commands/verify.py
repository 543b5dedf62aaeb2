"""Command verify: read every kept byte again. A failing disk changes bytes without changing a file's size or time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path

from fieldgap.base import untrusted
from fieldgap.base.errors import InputError
from fieldgap.engines import adoption, blobs
from fieldgap.engines.digests import digest
from fieldgap.engines.receipts import MIRRORS, RECEIPTS, Receipt, read


def receipts() -> tuple[dict[Path, Receipt], list[Path]]:
    """Return all receipts by their path, and the paths of those that are not whole."""
    found, unfit = dict[Path, Receipt](), list[Path]()
    for path in sorted(RECEIPTS.glob("*/*.json")):
        try:
            found[path] = read(path)
        except (OSError, ValueError):
            unfit.append(path)
    return found, unfit


def known_digests(found: Iterable[Receipt]) -> dict[Path, set[str]]:
    """Return the digests that each path had as a result, by receipts and by dvc.lock.

    Mirrors are left out, since what they write depends on a store, and so are paths outside the project.
    """
    known: dict[Path, set[str]] = defaultdict(set)
    for receipt in found:
        if receipt["stage"] not in MIRRORS:
            for label, md5 in receipt["outputs"].items():
                known[Path(receipt["paths"][label])].add(md5)
    for entry in adoption.locked():
        if not any(f"fieldgap {stage} " in entry["cmd"] for stage in MIRRORS):
            for path, md5 in adoption.files_of(entry.get("outs") or []):
                known[Path(path)].add(md5)
    return {path: digests for path, digests in known.items() if _is_inside(path)}


def _is_inside(path: Path) -> bool:
    try:
        return bool(untrusted.relative(path.as_posix()))
    except ValueError:
        return False


def _damaged_blobs(known: Mapping[Path, Set[str]]) -> Iterator[str]:
    paths = {md5: path for path, digests in known.items() for md5 in digests}
    for blob in blobs.blobs():
        md5 = blob.parent.name + blob.name.removesuffix(".dir")
        if digest(blob) != md5:
            yield f"{blob}: is damaged" + (f"; it was {paths[md5]}" if md5 in paths else "")


def run() -> None:
    """Read again what the cache holds and which results are on disk. Raises InputError that lists all damage."""
    found, unfit = receipts()
    wrong = [f"{path}: was changed, or another version wrote it" for path in unfit]
    known = known_digests(found.values())
    wrong += _damaged_blobs(known)
    present = [path for path in sorted(known) if path.is_file()]
    wrong += [f"{path}: differs from every result known for it" for path in present if digest(path) not in known[path]]
    if wrong:
        mend = "remove these files and run either engine, which makes them again"
        raise InputError("\n  ".join([f"{len(wrong)} files differ from what was kept:", *wrong, mend]))
    print(f"{len(found)} receipts, {len(blobs.blobs())} files in the cache and {len(present)} results are intact")
