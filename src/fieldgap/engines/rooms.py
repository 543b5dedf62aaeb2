"""Which rooms of this package each stage is made of.

The trap: Snakemake does not see a changed module that a stage imports, and DVC sees only what dvc.yaml lists. The room
is the one granularity of code, in a result's key, in dvc.yaml and in the Snakefile; tests hold this table against the
imports.
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
KINDS = (".py", ".j2", ".css", ".js")  # .dvcignore makes DVC pass over all other files too.


def files_in(room: str) -> list[Path]:
    """Return the source files in a room and the folders below it, sorted; editors' hidden files are none."""
    found = (PACKAGE / room).rglob("*")
    return sorted(path for path in found if path.suffix in KINDS and not path.name.startswith("."))


def sources_of(stage: str) -> list[Path]:
    """Return the source files in all rooms that a stage is made of."""
    return [path for room in ROOMS[stage] for path in files_in(room)]
