"""The command line of each stage: explicit paths, typed flags that are never abbreviated."""

from __future__ import annotations

import argparse
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from fieldgap import __doc__ as question
from fieldgap.engines.stages import COMMANDS, Stage
from fieldgap.settings import params, sections

NESTED = ("options", "classes")  # Keys whose own keys depend on the user; split_nested() reads their flags.


class Once(argparse.Action):
    """Stores a value and refuses a second one: a key both in train and in the grid must not pass silently."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        if hasattr(namespace, self.dest):
            parser.error(f"argument {option}: given twice")
        setattr(namespace, self.dest, option != f"--no-{self.dest}" if self.nargs == 0 else values)


def add_flags(parser: argparse.ArgumentParser, section: type) -> None:
    """Adds one required flag a field. Values stay text here: settings types them, under either engine the same way."""
    kinds = typing.get_type_hints(section)
    for each in fields(section):
        if each.name in NESTED:
            continue
        kind, many = kinds[each.name], typing.get_origin(kinds[each.name]) is tuple
        says = each.metadata.get("says") or ", ".join(each.metadata.get("names", ()))
        parser.add_argument(
            *([f"--{each.name}", f"--no-{each.name}"] if kind is bool else [f"--{each.name}"]),
            dest=each.name,
            action=Once,
            nargs=0 if kind is bool else "*" if many else None,
            default=argparse.SUPPRESS,
            required=not many,  # DVC leaves out an empty list.
            metavar="VALUE" if typing.get_origin(kind) else kind.__name__.upper(),
            help=says.replace("%", "%%"),
        )


def add_axes(parser: argparse.ArgumentParser) -> None:
    """Adds one flag a train key that takes the values of a grid axis; the order of the flags is that of the axes."""
    for each in fields(sections.Train):
        parser.add_argument(
            f"--{each.name}",
            action=Once,
            nargs="+",
            default=argparse.SUPPRESS,
            metavar="VALUE",
            help="values of the axis",
        )


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("fieldgap", description=question, allow_abbrev=False)
    commands = top.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for name, stage in COMMANDS.items():
        command = commands.add_parser(name, help=stage.says, description=stage.says, allow_abbrev=False)
        for path in stage.paths:
            if path.isupper():
                command.add_argument(path.lower(), type=Path, metavar=path)
            else:
                command.add_argument(f"--{path}", type=Path, required=True, metavar="PATH")
        if stage.data:
            add_flags(command, sections.Data)
        if stage.section:
            add_flags(command, stage.section)
        if stage.grid:
            add_axes(command)
    return top


def split_nested(argv: Sequence[str]) -> tuple[list[str], dict[str, dict[str, list[str]]]]:
    """Takes the flags of nested keys, such as --options.PART.NAME, out of a command line -> the rest, and the words
    of each below its first name.

    A flag without a value is true, and with --no- in front false.
    """
    rest: list[str] = []
    nested: dict[str, dict[str, list[str]]] = {}
    into = rest
    for word in argv:
        if found := re.fullmatch(rf"--(no-)?({'|'.join(NESTED)})\.(.+)", word):
            no, key, name = found.groups()
            if name in nested.setdefault(key, {}):
                parser().error(f"argument {word}: given twice")
            into = nested[key][name] = []
            if no:
                into.append("false")
        else:
            into = rest if word.startswith("--") else into
            into.append(word)
    return rest, nested


def by_part(words: Mapping[str, list[str]]) -> dict[str, dict[str, list[str]]]:
    """Words by PART.NAME -> by part, then by name."""
    parts: dict[str, dict[str, list[str]]] = {}
    for path, values in words.items():
        part, _, name = path.rpartition(".")
        parts.setdefault(part, {})[name] = values or ["true"]
    return parts


def section_of(kind: type, given: dict[str, Any]) -> Any:
    """Takes a section's flags out of `given` -> the section. Raises InputError for a bad value."""
    return kind(**{f.name: params.convert_field(kind, f.name, given.pop(f.name, ()), "--") for f in fields(kind)})


def arguments(stage: Stage, given: dict[str, Any]) -> dict[str, Any]:
    """Parsed flags -> the keyword arguments of the stage's run(). Raises InputError for a bad value."""
    result: dict[str, Any] = {key.lower(): given.pop(key.lower()) for key in stage.paths}
    if stage.data:
        result["data"] = section_of(sections.Data, given)
    if stage.section:
        result["config"] = section_of(stage.section, given)
    if stage.grid:
        result["grid"] = params.expand({name: params.axis(name, values) for name, values in given.items()})
    return result


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """-> the words of each flag by name, and the stage. Exits with 2 for wrong usage."""
    rest, nested = split_nested(argv)
    given = vars(parser().parse_args(rest))
    stage = COMMANDS[given["stage"]]
    taken = {"options": stage.section is sections.Train, "classes": stage.data}
    if unknown := [key for key in nested if not taken[key]]:
        parser().error(f"unrecognized arguments: --{unknown[0]}.{next(iter(nested[unknown[0]]))}")
    if taken["options"]:
        given["options"] = by_part(nested.get("options", {}))
    if taken["classes"]:
        given["classes"] = nested.get("classes", {})
    return given
