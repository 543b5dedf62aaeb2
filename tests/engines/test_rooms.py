"""The house: what each room may import, and which rooms each stage is made of."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldgap.engines.rooms import KINDS, PACKAGE, ROOMS, files_in
from fieldgap.engines.stages import STAGES

MAY_IMPORT = {
    "base": "",
    "parts": "base",
    "settings": "base parts",
    "demo": "base",
    "data": "base",
    "tiles": "base",
    "network": "base parts tiles",
    "training": "base parts tiles network",
    "evaluation": "base tiles network",
    "analysis": "base",
    "report": "base tiles analysis",
    "tracking": "base tiles analysis network",
    "engines": "base parts settings data",
    "commands": "*",
    "cli": "base settings engines",
    "__main__": "cli",
}
TYPES_ALONE = "settings"  # Every room may name the settings' types.


def imported(package: Path, path: Path, *, types: bool = False) -> Iterator[Path]:
    """Yields the files of the package that one of them imports, for type checking alone only if asked for."""
    tree = ast.parse(path.read_bytes())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not types
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == package.name for alias in node.names), path
        if not isinstance(node, ast.ImportFrom) or id(node) in skipped or node.level:
            continue
        first, *rest = str(node.module).split(".")
        if first != package.name:
            continue
        module = package.joinpath(*rest)
        for folder in (package, *(package.joinpath(*rest[: i + 1]) for i in range(len(rest)))):
            if (folder / "__init__.py").is_file():
                yield folder / "__init__.py"
        if module.with_suffix(".py").is_file():
            yield module.with_suffix(".py")
        else:
            yield from (file for alias in node.names if (file := module / f"{alias.name}.py").is_file())


def closure(package: Path, module: str) -> set[Path]:
    """Return the files of a module and of all that it imports in turn, relative to the package."""
    found: set[Path] = set()
    waiting = [package.joinpath(*module.split(".")).with_suffix(".py")]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += imported(package, path)
    return {path.relative_to(package) for path in found}


def room_of(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def beyond_its_rooms(package: Path) -> list[str]:
    """Return what a stage imports from rooms that are not its own. The package's own __init__.py holds no code."""
    return [
        f"{name}: {path}"
        for name, stage in STAGES.items()
        for path in sorted(closure(package, stage.module))
        if path != Path("__init__.py") and room_of(path) not in ROOMS[name]
    ]


def foreign_to_train(package: Path) -> list[str]:
    """Return the files in train's rooms that no training runs, whose edits would train again for nothing."""
    used = closure(package, STAGES["train"].module)
    there = {path.relative_to(package) for room in ROOMS["train"] for path in (package / room).rglob("*.py")}
    return sorted(str(path) for path in there - used if path.name != "__init__.py")


def against_the_rule(package: Path) -> list[str]:
    """Return the imports that MAY_IMPORT does not allow."""
    wrong = []
    for path in sorted(package.rglob("*.py")):
        room = room_of(path.relative_to(package))
        allowed = {room, *MAY_IMPORT.get(room, "").split()}
        for types in (False, True):
            for other in imported(package, path, types=types):
                target = room_of(other.relative_to(package))
                fine = target in allowed or "*" in allowed or target == "__init__" or (types and target == TYPES_ALONE)
                if not fine and room != "__init__":
                    wrong.append(f"{path.relative_to(package)} -> {other.relative_to(package)}")
    return sorted(set(wrong))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A package of its own, to be spoilt."""
    return Path(shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__")))


def spoil(path: Path, line: str) -> None:
    path.write_text(path.read_text() + f"\n\ndef spoilt() -> None:\n    {line}\n")


def test_each_stage_imports_from_its_rooms_alone(copied: Path) -> None:
    assert beyond_its_rooms(PACKAGE) == []
    spoil(copied / "tiles/splits.py", "from fieldgap.analysis import effects")
    assert "train: analysis/effects.py" in beyond_its_rooms(copied)


def test_nothing_in_the_rooms_of_train_is_foreign_to_it(copied: Path) -> None:
    assert foreign_to_train(PACKAGE) == []
    (copied / "network/chart.py").write_text("")
    assert foreign_to_train(copied) == ["network/chart.py"]


def test_rooms_import_one_way(copied: Path) -> None:
    assert against_the_rule(PACKAGE) == []
    spoil(copied / "base/files.py", "from fieldgap.parts import inits")
    spoil(copied / "parts/inits.py", "from fieldgap.settings.sections import Train")
    assert against_the_rule(copied) == [
        "base/files.py -> parts/__init__.py",
        "base/files.py -> parts/inits.py",
        "parts/inits.py -> settings/__init__.py",
        "parts/inits.py -> settings/sections.py",
    ]


def test_the_rule_has_no_circle() -> None:
    """Each room may import only rooms that stand above it in the table."""
    order = list(MAY_IMPORT)
    for room, allowed in MAY_IMPORT.items():
        assert allowed == "*" or all(order.index(other) < order.index(room) for other in allowed.split()), room


def test_every_file_is_in_a_room_and_each_room_says_what_lives_there() -> None:
    found = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    rooms = set(MAY_IMPORT) - {"cli", "__main__"}
    assert found == {*rooms, "__init__.py", "__main__.py", "cli.py"}
    for room in rooms:
        told = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text())) or ""
        assert len(told.split()) > 30, room


def test_package_files_hold_no_code() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        assert all(isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body), path


def test_no_file_is_longer_than_250_lines() -> None:
    long = [path for path in PACKAGE.rglob("*.py") if len(path.read_text().splitlines()) > 250]
    assert long == []


def test_all_files_of_a_room_count_as_its_code() -> None:
    for room in set(MAY_IMPORT) - {"cli", "__main__"}:
        there = {path for path in (PACKAGE / room).rglob("*") if path.is_file() and path.suffix != ".pyc"}
        assert there == set(files_in(room)), room
        assert {path.suffix for path in there} <= set(KINDS)
