"""Where the numbers of a report come from: data, code, values and machines, by what the report itself reads.

No commit and no time, which would make other bytes of the same inputs; command explain and MLflow tell those.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fieldgap.analysis.runs import Finished
from fieldgap.base.files import read_json
from fieldgap.tiles.packed import digest_of

SHOWN = 16  # digits of a digest, as MLflow shows them
MOST = 100  # runs by name


def spelt(machine: Mapping[str, Any]) -> str:
    """-> what a run's machine had, as `name value`, without what it lacks."""
    return ", ".join(f"{name} {value}" for name, value in machine.items() if value is not None)


def shared(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """-> the entries that all of several tables have."""
    first, *others = tables
    return {key: value for key, value in first.items() if all(key in each and each[key] == value for each in others)}


def without(table: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """-> the entries whose keys are not known."""
    return {key: value for key, value in table.items() if key not in known}


def section(runs: Sequence[Finished], tiles: Path, key: str) -> dict[str, Any]:
    """Return the digest of the data, the key of the report, what all runs share, and what is each run's own."""
    ends = [read_json(run.folder / "status.json") for run in runs]
    packages = shared([end.get("packages", {}) for end in ends])
    own = [{**without(end.get("packages", {}), packages), **end.get("machine", {})} for end in ends]
    rows = [
        {"run": run.name, "key": end.get("key", "")[:SHOWN], "machine": spelt(each)}
        for run, end, each in zip(runs, ends, own, strict=True)
    ]
    return {
        "data": digest_of(tiles)[:SHOWN],
        "key": key[:SHOWN],
        "values": {key: json.dumps(value) for key, value in shared([run.config for run in runs]).items()},
        "packages": spelt(packages),
        "runs": rows[:MOST],
        "count": len(rows),
    }
