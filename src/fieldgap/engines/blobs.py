"""The bytes of results, in the cache that both engines share.

The trap: two caches would hold each result twice, and neither engine could restore what the other made. So this is
DVC's own cache, in DVC's layout, read and written without loading DVC.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from fieldgap.base import untrusted
from fieldgap.base.errors import InputError
from fieldgap.base.files import remove_drafts, replacing
from fieldgap.base.names import dvc_cache
from fieldgap.engines.digests import Digests

READ_ONLY = 0o444  # As DVC leaves the files of its cache.


@functools.cache
def cache() -> Path:
    """Return the folder of DVC's cache, as DVC's configuration names it."""
    return dvc_cache()


def blob_of(md5: str) -> Path:
    """Return where the cache keeps the bytes with this digest. Raises ValueError for what is no digest."""
    md5 = untrusted.md5(md5)
    return cache() / md5[:2] / md5[2:]


def blobs() -> list[Path]:
    """Return all files of the cache, without what is only being written."""
    return sorted(cache().glob("??/[0-9a-f]*"))


def _copy(source: Path, target: Path) -> None:
    """Copy a file's bytes, sharing them if the file system can."""
    with source.open("rb") as read, target.open("wb") as written:
        try:
            while os.copy_file_range(read.fileno(), written.fileno(), 1 << 30):
                pass
        except OSError:
            read.seek(0)
            written.seek(0)
            shutil.copyfileobj(read, written)


def whole(md5: str) -> bool:
    """Return whether the cache holds these bytes. Damaged ones are named and removed, so that they are made again."""
    blob = blob_of(md5)
    found = Digests().of([blob]).get(blob)
    if found not in (None, md5):
        print(f"{blob}: was damaged and is removed; its result is made again", file=sys.stderr, flush=True)
        with suppress(OSError):  # Others may own the cache. It is not used in any case.
            blob.unlink()
    return found == md5


def fetch(md5: str, path: Path) -> bool:
    """Restore a file from the cache and return whether the cache had it."""
    if not whole(md5):
        return False
    with replacing(path) as draft:
        _copy(blob_of(md5), draft)
    return True


def store(files: Mapping[Path, str]) -> None:
    """Copy files into the cache. If there is no room, say so and keep the result."""
    remove_drafts({blob_of(md5).parent for md5 in files.values()})
    try:
        for path, md5 in files.items():
            if not whole(md5):
                with replacing(blob_of(md5)) as draft:
                    _copy(path, draft)
                    draft.chmod(READ_ONLY)
    except InputError as error:
        print(f"{error}; the result stands, but it cannot be restored later", file=sys.stderr)
