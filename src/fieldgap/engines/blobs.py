"""The bytes of results, each once, in the cache that both engines share: DVC's own, laid out as DVC lays it out."""

from __future__ import annotations

import configparser
import functools
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from fieldgap.base.errors import InputError
from fieldgap.base.files import replacing
from fieldgap.engines.digests import Digests

READ_ONLY = 0o444  # As DVC leaves the files of its cache.


@functools.cache
def cache() -> Path:
    """-> the folder of DVC's cache, by its configuration."""
    config = configparser.ConfigParser(interpolation=None)
    config.read([".dvc/config", ".dvc/config.local"])
    return Path(".dvc") / config.get("cache", "dir", fallback="cache") / "files/md5"


def blob_of(md5: str) -> Path:
    return cache() / md5[:2] / md5[2:]


def copy(source: Path, target: Path) -> None:
    """Copies a file's bytes, by sharing them where the file system can."""
    with source.open("rb") as read, target.open("wb") as written:
        try:
            while os.copy_file_range(read.fileno(), written.fileno(), 1 << 30):
                pass
        except OSError:
            read.seek(0)
            written.seek(0)
            shutil.copyfileobj(read, written)


def whole(md5: str) -> bool:
    """-> whether the cache holds these bytes. Damaged ones are named and removed, so that they are made again."""
    blob = blob_of(md5)
    if (found := Digests().of([blob])) and found[blob] != md5:
        print(f"{blob}: is damaged and was removed; what it held is made again", file=sys.stderr, flush=True)
        blob.unlink()
    return blob.is_file()


def fetch(md5: str, path: Path) -> bool:
    """Brings a file from the cache -> whether it could be had."""
    if not whole(md5):
        return False
    with replacing(path) as draft:
        copy(blob_of(md5), draft)
    return True


def store(files: Mapping[Path, str]) -> None:
    """Brings files into the cache. Where there is no room, that is told and costs no result."""
    try:
        for path, md5 in files.items():
            if not whole(md5):
                with replacing(blob_of(md5)) as draft:
                    copy(path, draft)
                    draft.chmod(READ_ONLY)
    except InputError as error:
        print(f"{error}; the result stands, but it cannot be restored later", file=sys.stderr)
