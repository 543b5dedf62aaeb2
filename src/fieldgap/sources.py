"""Which files of this package a stage is made of: its import graph, read from the sources without running them."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

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
