"""Which files of this package a stage is made of: its import graph, read from the sources without running them."""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

from fieldgap.errors import InputError

PACKAGE = Path(__file__).parent


@functools.cache
def imported(source: Path) -> list[str]:
    """-> the modules of this package that a file imports when it runs, not for type checking alone."""
    found: list[str] = []
    waiting: list[ast.AST] = [ast.parse(source.read_bytes())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == PACKAGE.name:
            module = str(node.module).removeprefix(PACKAGE.name).lstrip(".")
            inside = (PACKAGE / module).is_dir()
            found += [f"{module}.{alias.name}".lstrip(".") for alias in node.names] if inside else [module]
        waiting += ast.iter_child_nodes(node)
    return found


def templates(source: Path) -> set[Path]:
    """-> what a module reads from the folder of its own name beside it."""
    return {path for path in source.with_suffix("").glob("[!._]*") if path.suffix != ".py"}


def sources(module: str) -> list[Path]:
    """-> the file of a module of this package, those of all that it imports in turn, and their templates, sorted."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        path = PACKAGE.joinpath(*waiting.pop().split(".")).with_suffix(".py")
        if path not in found:
            found |= {path, *templates(path)}
            waiting += imported(path)
    return sorted(found)


def digest(path: Path) -> str:
    """-> SHA-256 of a file's bytes, read once in pieces. Raises InputError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run the stage that makes it again") from None


def code(module: str) -> dict[str, str]:
    """-> the digests of sources(), by their paths in this package."""
    return {path.relative_to(PACKAGE).as_posix(): digest(path) for path in sources(module)}
