"""The command line of each stage: explicit paths, typed flags that are never abbreviated.

The trap: a value both in train and in the grid would win or lose silently, so a flag may be given only once. Values are
text until settings/ types them, the same way under either engine.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from fieldgap import __doc__ as question
from fieldgap.engines.stages import COMMANDS, PATHS, Stage


class _Once(argparse.Action):
    """Store a value and refuse a second one."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        if hasattr(namespace, self.dest):
            parser.error(f"argument {option}: given twice")
        setattr(namespace, self.dest, option != f"--no-{self.dest}" if self.nargs == 0 else values)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with one line. The usage of a stage has thirty."""
        self.exit(2, f"{self.prog}: {message}; see python -m {self.prog} --help\n")


def _keys(section: str) -> dict[str, dict[str, Any]]:
    """Return the JSON schema of each key of a section. It loads here, so that `--help` alone does not wait for it."""
    from fieldgap.settings import messages, sections

    return messages.schema_of(getattr(sections, section))["properties"]


def _add_keys(command: argparse._ActionsContainer, section: str, *, axes: bool = False) -> None:
    """Add a flag for each key of a section, or a flag with several values for each key that may be an axis."""
    from fieldgap.settings.messages import meaning

    for name, key in _keys(section).items():
        kind = key.get("type")
        flags: list[str] = [f"--{name}"]
        count: str | int | None = "*" if axes or kind == "array" else None
        if kind == "object":  # Listed for --help only: _split() takes its flags.
            flags, count = [f"--{name}.NAME"], "*"
        if kind == "boolean" and not axes:
            flags, count = [f"--{name}", f"--no-{name}"], 0
        command.add_argument(
            *flags,
            dest=name,
            action=_Once,
            nargs=count,
            default=argparse.SUPPRESS,
            required=count != "*",  # DVC leaves out an empty list.
            metavar="VALUE",
            help=meaning(key).replace("%", "%%"),
        )


def _add_arguments(command: argparse.ArgumentParser, stage: Stage) -> None:
    for path in stage.paths:
        if path.isupper():
            command.add_argument(path.lower(), type=Path, metavar=path, help=PATHS[path])
        else:
            command.add_argument(f"--{path}", type=Path, required=True, metavar="PATH", help=PATHS[path])
    for path in stage.optional:
        command.add_argument(f"--{path}", action=_Once, default=argparse.SUPPRESS, metavar="PATH", help=PATHS[path])
    for section in stage.sections.values():
        _add_keys(command, section)
    if stage.grid:
        _add_keys(command.add_argument_group("axes, in the order that names the runs"), "Train", axes=True)


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of a command line; only the subcommand that it names has its flags."""
    top = _Parser("fieldgap", description=question, allow_abbrev=False)
    commands = top.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for name, stage in COMMANDS.items():
        command = commands.add_parser(name, help=stage.purpose, description=stage.purpose, allow_abbrev=False)
        if name in argv[:1]:
            _add_arguments(command, stage)
    return top


def _split(argv: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Return a command line without nested keys, and the words of each nested key by its dotted name.

    A nested key without a value is true, and false with --no- before it.
    """
    rest: list[str] = []
    nested: dict[str, list[str]] = {}
    words = rest
    for word in argv:
        if flag := re.fullmatch(r"--(no-)?(\w+\..+)", word):
            if flag[2] in nested:
                _parser(argv).error(f"argument {word}: given twice")
            words = nested[flag[2]] = ["false"] if flag[1] else []
        else:
            words = rest if word.startswith("--") else words
            words.append(word)
    return rest, nested


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """Return the words of each flag by name, nested ones by the name of their first key, and the stage.

    Exits with status 2 for wrong usage.
    """
    rest, nested = _split(argv)
    parser = _parser(argv)
    given = vars(parser.parse_args(rest))
    keys = [item for section in COMMANDS[given["stage"]].sections.values() for item in _keys(section).items()]
    blocks: dict[str, dict[str, Any]] = {name: {} for name, key in keys if key.get("type") == "object"}
    for path, words in nested.items():
        key, _, name = path.partition(".")
        if key not in blocks:
            parser.error(f"unrecognized arguments: --{path}")
        part, _, option = name.rpartition(".")
        block = blocks[key].setdefault(part, {}) if part else blocks[key]
        block[option] = words[0] if len(words) == 1 else words or "true"
    return given | blocks


def arguments(stage: Stage, given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the stage's run() from parsed flags.

    Raises:
        InputError: A value is wrong.
    """
    from fieldgap.settings import messages, params, sections

    result: dict[str, Any] = {path.lower(): given.pop(path.lower()) for path in stage.paths}
    result |= {path: Path(given.pop(path)) for path in stage.optional if path in given}
    for name, section in stage.sections.items():
        values = {key: given.pop(key, ()) for key in _keys(section)}
        result[name] = messages.checked(getattr(sections, section), values, "--")
    if stage.grid:
        result["grid"] = params.expand(messages.checked(params.Grid, given, "--"))
    return result
