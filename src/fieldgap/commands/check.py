"""Command check: describe a folder of images and masks, and propose the lines of params.yaml that fit it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from fieldgap.base.errors import InputError
from fieldgap.base.files import write_rows, write_text
from fieldgap.commands.facts import SHOWN, Facts, describe, examine_all, proposal
from fieldgap.commands.layouts import find_layout, folders_in
from fieldgap.commands.sharing import places_of, share
from fieldgap.data import leakage
from fieldgap.data.pairs import labelled
from fieldgap.data.passed_over import as_lines, passed_over
from fieldgap.data.proposals import as_yaml, used_share


def _same_places(matches: Sequence[leakage.Match]) -> list[str]:
    listed = [f"  {found.first.scene} and {found.second.scene}: {found.kind}" for found in matches[:SHOWN]]
    rest = [f"  and {len(matches) - SHOWN} more"] if len(matches) > SHOWN else []
    return [f"pairs of scenes that show the same place: {len(matches)}", *listed, *rest]


def _unused(folder: Path, scenes: Mapping[str, tuple[Path, Path]], unlabelled: Sequence[Path]) -> list[str]:
    """Return the lines about images without a mask, and about files that are no part of a scene."""
    used = {*(path for pair in scenes.values() for path in pair), *unlabelled}
    others = [place / name for place, names in folders_in(folder).items() for name in names.values()]
    unused = [path for path in others if path not in used]
    groups = (("have no mask", unlabelled), ("are part of no scene", unused))
    lines = [f"{len(paths)} image files {what}, such as {paths[0]}" for what, paths in groups if paths]
    return [*lines, *as_lines(passed_over(folder))]


def _lines(blocks: Mapping[str, Mapping[str, object]]) -> str:
    lines = [
        line
        for block, values in blocks.items()
        for line in (f"{block}:", *(f"  {key}: {as_yaml(value)}" for key, value in values.items()))
    ]
    return "\n".join(lines)


def _proposed(
    scenes: Sequence[Facts], places: Mapping[str, str], proposed: dict[str, dict[str, object]], table: Path | None
) -> dict[str, dict[str, object]]:
    """Return the proposed values with those that the splits need, and print what the project makes of the scenes."""
    shapes = {scene.fingerprint.scene: scene.shape for scene in scenes}
    sharing = share(shapes, places, proposed["normalize"])
    if sharing:
        print(sharing)
        proposed |= sharing.proposal
    if table:
        proposed["split"] = {**proposed.get("split", {}), "table": str(table), "group": "column:place"}
    used = used_share(Counter(shapes.values()), proposed["normalize"])
    print(f"\n# params.yaml: these lines differ from the shipped ones; the tiles use {used:.1%} of all pixels")
    return proposed


def run(folder: Path, images: Path | None = None, masks: Path | None = None, write: Path | None = None) -> None:
    """Print what a folder holds and which lines to write into params.yaml.

    Args:
        folder: The folder to search.
        images: The folder of the images, where several answers are possible.
        masks: The folder of the masks, likewise.
        write: A new file for the lines. If scenes show the same place, a table beside it keeps them together.

    Raises:
        InputError: The layout is not understood, or some scenes cannot be used. It lists them all.
    """
    table = write.with_suffix(".csv") if write else None
    if there := [path for path in (write, table) if path and path.exists()]:
        raise InputError(f"{there[0]}: exists already; remove it, or name another file after --write")
    layout = find_layout(folder, images, masks)
    scenes, unlabelled = labelled(layout.images, layout.masks, layout.mask_pattern, "skip", layout.image_pattern)
    facts, problems = examine_all(scenes)
    print(f"{folder}: {len(scenes)} scenes, {layout.named}\n")
    if facts:
        matches = leakage.audit([scene.fingerprint for scene in facts])
        places = places_of(scenes, [(found.first.scene, found.second.scene) for found in matches])
        print("\n".join([*describe(facts), *_same_places(matches), *_unused(folder, scenes, unlabelled)]))
        proposed = proposal(layout, facts)
        if unlabelled:
            proposed["data"]["unlabelled"] = "skip"
        proposed = _proposed(facts, places, proposed, table if matches else None)
        print(_lines(proposed))
    if problems:
        raise InputError("\n  ".join([f"{len(problems)} of {len(scenes)} scenes cannot be used:", *problems]))
    if write and table:
        if matches:
            write_rows(table, ({"scene": scene, "place": place} for scene, place in places.items()))
        write_text(write, _lines(proposed) + "\n")
