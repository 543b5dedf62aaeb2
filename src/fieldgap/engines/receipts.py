"""Receipts: a file for each kept result, with what it depends on and the digests of its files; and the log beside them.

The trap: an edited receipt restores other files than were made, and one from elsewhere can name any path. So a receipt
holds a digest over itself, and reading one gives a whole receipt or none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fieldgap.base import untrusted
from fieldgap.base.files import write_json

RECEIPTS = Path(".fieldgap/results")
LOG = Path(".fieldgap/log.jsonl")
MIRRORS = ("record",)  # Stages that write to a store outside, where only the last write counts.
DIGEST = "digest"  # The field with the digest over all others.

Receipt = dict[str, Any]


def path_of(stage: str, key: str) -> Path:
    """Return where the receipt of a result is kept."""
    return RECEIPTS / stage / f"{key}.json"


def write(content: Mapping[str, Any]) -> None:
    """Write a receipt."""
    write_json(path_of(content["stage"], content["key"]), {**content, DIGEST: _digest(content)})


def read(path: Path) -> Receipt:
    """Return a receipt.

    Raises:
        OSError: It cannot be read.
        ValueError: It was changed since it was written, or it does not look like a receipt.
    """
    try:
        return _checked(json.loads(path.read_bytes()), path)
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} is no receipt") from None


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _checked(receipt: Receipt, path: Path) -> Receipt:
    content = {name: value for name, value in receipt.items() if name != DIGEST}
    if receipt[DIGEST] != _digest(content):
        raise ValueError(f"{path} was changed")
    if path != path_of(receipt["stage"], untrusted.key(receipt["key"])):
        raise ValueError(f"{path} is the receipt of another result")
    for label, md5 in (*receipt["inputs"].items(), *receipt["outputs"].items()):
        untrusted.md5(md5)
        if not str.isprintable(receipt["paths"][label]):
            raise ValueError(f"{path} has a path that does not print")
    return receipt
