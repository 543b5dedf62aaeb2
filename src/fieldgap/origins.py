"""Where the numbers of a report come from: data, code, values and machines, by what the report itself reads.

No commit and no time, which would make other bytes of the same inputs; command explain and MLflow tell those.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fieldgap.datasets import digest_of
from fieldgap.files import read_json
from fieldgap.runs import Finished
from fieldgap.sources import code

SHOWN = 16  # digits of a digest, as MLflow shows them
MOST = 100  # runs by name


def spelt(machine: Mapping[str, Any]) -> str:
    """-> what a run's machine had, as `name value`, without what it lacks."""
    return ", ".join(f"{name} {value}" for name, value in machine.items() if value is not None)


def shared(configs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """-> the values that all runs have in common, as JSON."""
    first, *others = configs
    return {key: json.dumps(value) for key, value in first.items() if all(each[key] == value for each in others)}


def section(runs: Sequence[Finished], tiles: Path) -> dict[str, Any]:
    """-> digests of data and code, shared values, and each run's machine and key over all that it depends on."""
    ends = [read_json(run.folder / "status.json") for run in runs]
    rows = [
        {"run": run.name, "key": end.get("key", "")[:SHOWN], "machine": spelt(end.get("machine", {}))}
        for run, end in zip(runs, ends, strict=True)
    ]
    return {
        "data": digest_of(tiles)[:SHOWN],
        "code": hashlib.sha256(json.dumps(code("report"), sort_keys=True).encode()).hexdigest()[:SHOWN],
        "values": shared([run.config for run in runs]),
        "runs": rows[:MOST],
        "count": len(rows),
    }
