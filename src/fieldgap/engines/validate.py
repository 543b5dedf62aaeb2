"""Stage validate of dvc.yaml: refuse before any stage runs what the top of the Snakefile refuses.

The trap: DVC checks no value. It hands keys to a shell unquoted, and a bad value stops it only at the first stage that
is due and gets it, perhaps after hours. So every stage of dvc.yaml depends on what this one writes, which is always the
same: a change of params.yaml runs the check again, and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fieldgap.base.errors import InputError
from fieldgap.base.files import write_text
from fieldgap.engines import jobs
from fieldgap.settings.params import read, try_own_parts

VALIDATED = Path(".fieldgap/validated")
GRAPH = Path("dvc.yaml")


def write(out: Path = VALIDATED) -> None:
    """Write that all values are valid."""
    write_text(out, "params.yaml is valid\n")


def _read_graph() -> dict[str, Any]:
    import yaml

    try:
        return dict(yaml.safe_load(GRAPH.read_text(encoding="utf-8"))["stages"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise InputError(f"{GRAPH}: cannot be read ({error}); restore it: git checkout {GRAPH}") from None


def check_axes(axes: list[str], graph: dict[str, Any]) -> None:
    """Refuse a matrix in dvc.yaml that has not the axes of the grid, in the same order, which names the runs.

    Raises:
        InputError: Some are missing or in another order. A superfluous one does not get here: DVC misses its values.
    """
    for stage in ("train", "evaluate"):
        if list(graph.get(stage, {}).get("matrix", ())) != axes:
            lines = "".join(f"\n      {axis}: ${{grid.{axis}}}" for axis in axes)
            raise InputError(f"{GRAPH}: stage {stage} must have the axes of params.yaml; write\n    matrix:{lines}")


def run(params: Path, out: Path) -> None:
    """Check params.yaml, the scenes that it names, and the axes in dvc.yaml.

    Raises:
        InputError: One of them cannot be used.
    """
    settings = read(params)
    try_own_parts(settings)
    if Path(settings.data.images) != jobs.DEMO["images"]:
        jobs.split(settings.data, jobs.SPLIT_TABLE, settings.split)
    check_axes(list(settings.grid), _read_graph())
    write(out)
