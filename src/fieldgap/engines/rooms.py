"""The rooms of this package, and which of them each stage is made of.

A room is the one granularity of code: in a result's key, in dvc.yaml and in the Snakefile alike. Tests hold the table
against the import graph.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
ROOMS = {
    "demo": ("demo", "base"),
    "split": ("data", "base"),
    "normalize": ("data", "base"),
    "train": ("training", "network", "tiles", "parts", "base"),
    "evaluate": ("evaluation", "network", "tiles", "parts", "base"),
    "report": ("report", "analysis", "tiles", "base"),
    "record": ("tracking", "analysis", "tiles", "network", "parts", "base"),
}
KINDS = (".py", ".j2", ".css", ".js")  # .dvcignore has DVC pass over all other files of the package, as we do.


def files_in(room: str) -> list[Path]:
    """Return the source files in a room and the folders below it, sorted; editors' hidden files are none."""
    found = (PACKAGE / room).rglob("*")
    return sorted(path for path in found if path.suffix in KINDS and not path.name.startswith("."))


def sources_of(stage: str) -> list[Path]:
    """Return the source files in all rooms that a stage is made of."""
    return [path for room in ROOMS[stage] for path in files_in(room)]
