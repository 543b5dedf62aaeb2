"""Where the numbers of a report come from: data, code, parameters and machines.

It states no commit and no time, which would make other bytes of the same inputs; command explain and MLflow do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldgap.analysis.runs import shared_items
from fieldgap.base.files import read_json
from fieldgap.tiles.packed import digest_of

if TYPE_CHECKING:
    from fieldgap.analysis.runs import EvaluatedRun

DIGITS = 16  # Of a digest, as in MLflow.
MOST = 100  # Runs listed by name.


def _in_words(versions: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in versions.items() if value is not None)


def section(runs: Sequence[EvaluatedRun], tiles: Path, key: str) -> dict[str, Any]:
    """Return the values of the page's section on provenance.

    Args:
        runs: The runs of the grid.
        tiles: Folder of the packed tiles.
        key: The report's own key.

    Returns:
        The digest of the data, the keys of the report and of each run, and the parameters and packages that runs share
        or have of their own.
    """
    statuses = [read_json(run.folder / "status.json") for run in runs]
    packages = shared_items([status.get("packages", {}) for status in statuses])
    rows = []
    for run, status in zip(runs, statuses, strict=True):
        own = {name: version for name, version in status.get("packages", {}).items() if name not in packages}
        machine = _in_words({**own, **status.get("machine", {})})
        rows.append({"run": run.name, "key": status.get("key", "")[:DIGITS], "machine": machine})
    return {
        "data": digest_of(tiles)[:DIGITS],
        "key": key[:DIGITS],
        "parameters": {name: json.dumps(value) for name, value in shared_items([run.config for run in runs]).items()},
        "packages": _in_words(packages),
        "runs": rows[:MOST],
        "count": len(rows),
    }
