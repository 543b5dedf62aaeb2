"""The command line: one subcommand a stage, explicit paths, typed flags that are never abbreviated."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
import typing
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import fieldgap
from fieldgap import settings
from fieldgap.errors import InputError


@dataclass(frozen=True)
class Stage:
    """A subcommand: what it does, the module whose run() does it, its paths, its section, and whether it takes axes."""

    says: str
    module: str
    paths: tuple[str, ...]
    section: type | None
    grid: bool = False
    pattern: bool = False


STAGES = {
    "demo": Stage("draw synthetic farmland scenes with masks", "demo", ("images", "masks"), settings.Demo),
    "split": Stage(
        "assign each scene to train, val or test", "split", ("images", "masks", "out"), settings.Split, pattern=True
    ),
    "normalize": Stage(
        "turn masks into classes and cut scenes into packed tiles",
        "normalize",
        ("images", "masks", "split", "out"),
        settings.Normalize,
        pattern=True,
    ),
    "train": Stage("train one run of the grid", "train", ("tiles", "out"), settings.Train),
    "evaluate": Stage("measure a run on train, val and test", "evaluate", ("tiles", "run"), settings.Evaluate),
    "report": Stage("compare all runs of the grid", "report", ("runs", "out"), None, grid=True),
    "record": Stage(
        "bring all runs of the grid into MLflow",
        "tracking",
        ("runs", "reports", "tiles", "out"),
        settings.Record,
        grid=True,
    ),
}


# Beside the stages, for people: engines do not run them.
COMMANDS = {
    **STAGES,
    "inspect": Stage(
        "what each start of the grid does to weights, activations and gradients",
        "signals",
        ("tiles", "runs", "out"),
        None,
        grid=True,
    ),
    "watch": Stage("mirror trainings into MLflow while they run", "tracking_watch", ("spools",), settings.Record),
    "ui": Stage("open the MLflow UI on this machine alone", "tracking_ui", ("params",), None),
    "merge": Stage("bring spools of other machines into MLflow", "tracking_merge", ("spools",), settings.Record),
}


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
        if each.name == "options":  # Its flags depend on the parts; split_options reads them.
            continue
        says = each.metadata.get("says") or ", ".join(each.metadata.get("names", ()))
        names = [f"--{each.name}", f"--no-{each.name}"] if kinds[each.name] is bool else [f"--{each.name}"]
        parser.add_argument(
            *names,
            dest=each.name,
            action=Once,
            nargs=0 if kinds[each.name] is bool else None,
            default=argparse.SUPPRESS,
            required=True,
            metavar=getattr(kinds[each.name], "__name__", "INT|STR").upper(),
            help=says.replace("%", "%%"),
        )


def add_axes(parser: argparse.ArgumentParser) -> None:
    """Adds one flag a train key that takes the values of a grid axis; the order of the flags is that of the axes."""
    for each in fields(settings.Train):
        parser.add_argument(
            f"--{each.name}",
            action=Once,
            nargs="+",
            default=argparse.SUPPRESS,
            metavar="VALUE",
            help="values of the axis",
        )


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("fieldgap", description=fieldgap.__doc__, allow_abbrev=False)
    commands = top.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for name, stage in COMMANDS.items():
        command = commands.add_parser(name, help=stage.says, description=stage.says, allow_abbrev=False)
        for path in stage.paths:
            command.add_argument(f"--{path}", type=Path, required=True, metavar="PATH")
        if stage.pattern:
            command.add_argument("--mask_pattern", required=True, metavar="NAME", help="for example {stem}_mask.png")
        if stage.section:
            add_flags(command, stage.section)
        if stage.grid:
            add_axes(command)
    return top


def split_options(argv: Sequence[str]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Takes the flags --options.PART.NAME and their values out of a command line -> the rest, and the options by part.

    A flag without a value is a true option, and with --no- in front a false one.
    """
    rest: list[str] = []
    options: dict[str, dict[str, Any]] = {}
    into = rest
    for word in argv:
        if found := re.fullmatch(r"--(no-)?options\.(.+)\.(\w+)", word):
            no, part, name = found.groups()
            if name in options.setdefault(part, {}):
                parser().error(f"argument {word}: given twice")
            into = options[part][name] = []
            if no:
                into.append("false")
        else:
            into = rest if word.startswith("--") else into
            into.append(word)
    return rest, {part: {name: values or ["true"] for name, values in each.items()} for part, each in options.items()}


def arguments(stage: Stage, given: dict[str, Any]) -> dict[str, Any]:
    """Parsed flags -> the keyword arguments of the stage's run(). Raises InputError for a bad value."""
    names = [f.name for f in fields(stage.section)] if stage.section else []
    result: dict[str, Any] = {key: given.pop(key) for key in (*stage.paths, "mask_pattern") if key in given}
    if stage.pattern:
        result["mask_pattern"] = settings.convert_field(settings.Data, "mask_pattern", result["mask_pattern"], "--")
    if stage.section:
        typed = {name: settings.convert_field(stage.section, name, given.pop(name), "--") for name in names}
        result["config"] = stage.section(**typed)
    if stage.grid:
        result["grid"] = settings.expand({name: settings.axis(name, values) for name, values in given.items()})
    return result


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """-> the words of each flag by name, and the stage. Exits with 2 for wrong usage."""
    rest, options = split_options(argv)
    given = vars(parser().parse_args(rest))
    if given["stage"] == "train":
        given["options"] = options
    elif options:
        parser().error(f"unrecognized arguments: --options.{next(iter(options))}")
    return given


def check_before_dvc(name: str, given: dict[str, Any]) -> None:
    """Refuses a bad params.yaml before the first command of a `dvc repro`: DVC has no place to check values itself.

    No value is taken from the file. Snakemake's place for the same check is the top of the Snakefile.
    """
    if "DVC_STAGE" not in os.environ or not Path("params.yaml").exists():
        return
    data = settings.read(Path("params.yaml")).data
    for key, folder in (("images", Path(data.images)), ("masks", Path(data.masks))):
        if not folder.is_dir() and not (name == "demo" and folder == given[key]):
            raise InputError(f"{folder}: no such folder; set data.{key} to the folder that holds your {key}")


def main(argv: Sequence[str]) -> int:
    """Runs one stage. -> 0, or 1 after one message about bad input; wrong usage exits with 2."""
    given = parse(argv)
    name = given.pop("stage")
    try:
        check_before_dvc(name, given)
        keywords = arguments(COMMANDS[name], given)
        importlib.import_module(f"fieldgap.{COMMANDS[name].module}").run(**keywords)
    except InputError as error:
        print(f"fieldgap {name}: {error}", file=sys.stderr)
        return 1
    return 0
