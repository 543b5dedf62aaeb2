"""The command line: one subcommand a stage, explicit paths, typed flags that are never abbreviated."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import signal
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import fieldgap
from fieldgap import results, sections, settings
from fieldgap.errors import InputError, StoppedError
from fieldgap.jobs import job_of
from fieldgap.orphan import end_with_engine


@dataclass(frozen=True)
class Stage:
    """A subcommand: what it does, the module whose run() does it, its paths, its section, and what else it takes.

    `grid` is the axes, `data` what is to be known of the user's scenes.
    """

    says: str
    module: str
    paths: tuple[str, ...]
    section: type | None
    grid: bool = False
    data: bool = False


STAGES = {
    "demo": Stage(
        "draw synthetic farmland scenes with masks", "demo", ("images", "masks", "population"), sections.Demo
    ),
    "split": Stage("assign each scene to train, val or test", "split", ("out",), sections.Split, data=True),
    "normalize": Stage(
        "turn masks into classes and cut scenes into packed tiles",
        "normalize",
        ("split", "population", "out"),
        sections.Normalize,
        data=True,
    ),
    "train": Stage("train one run of the grid", "train", ("tiles", "out"), sections.Train),
    "evaluate": Stage("measure a run on train, val and test", "evaluate", ("tiles", "run"), sections.Evaluate),
    "report": Stage("compare all runs of the grid", "report", ("runs", "tiles", "out"), sections.Report, grid=True),
    "record": Stage(
        "bring all runs of the grid into MLflow",
        "tracking",
        ("runs", "reports", "tiles", "out"),
        sections.Record,
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
    "watch": Stage("mirror trainings into MLflow while they run", "tracking_watch", ("spools",), sections.Record),
    "ui": Stage("open the MLflow UI on this machine alone", "tracking_ui", ("params",), None),
    "merge": Stage("bring spools of other machines into MLflow", "tracking_merge", ("spools",), sections.Record),
    "verify": Stage("read all kept results again and name those that were damaged", "verify", (), None),
    "explain": Stage("which stages made a run, from what, under which engine", "explain", ("RUN",), None),
    "check": Stage(
        "what a folder of images and masks holds, and the values that accept it", "check", ("FOLDER",), None
    ),
}
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
    top = argparse.ArgumentParser("fieldgap", description=fieldgap.__doc__, allow_abbrev=False)
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
    return kind(**{f.name: settings.convert_field(kind, f.name, given.pop(f.name, ()), "--") for f in fields(kind)})


def arguments(stage: Stage, given: dict[str, Any]) -> dict[str, Any]:
    """Parsed flags -> the keyword arguments of the stage's run(). Raises InputError for a bad value."""
    result: dict[str, Any] = {key.lower(): given.pop(key.lower()) for key in stage.paths}
    if stage.data:
        result["data"] = section_of(sections.Data, given)
    if stage.section:
        result["config"] = section_of(stage.section, given)
    if stage.grid:
        result["grid"] = settings.expand({name: settings.axis(name, values) for name, values in given.items()})
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


def check_before_dvc(name: str, given: dict[str, Any]) -> None:
    """Refuses a bad params.yaml before the first command of a `dvc repro`: DVC has no place to check values itself.

    No value is taken from the file. Snakemake's place for the same check is the top of the Snakefile.
    """
    if "DVC_STAGE" not in os.environ or not Path("params.yaml").exists():
        return
    data = settings.read(Path("params.yaml")).data
    for key, folder in (("images", Path(data.images)), ("masks", Path(data.masks))):
        if not folder.is_dir() and not (name == "demo" and folder == Path(given[key])):
            raise InputError(f"{folder}: no such folder; set data.{key} to the folder that holds your {key}")


def perform(name: str, keywords: dict[str, Any]) -> None:
    """Runs a subcommand; a stage whose result is known is restored instead, and its module not even loaded."""
    module = COMMANDS[name].module
    job = job_of(name, module, keywords) if name in STAGES and results.in_project() else None
    basis = results.current_basis(job) if job else None  # None too where an input is missing, which the stage tells.
    if job and basis and results.restore(job, basis):
        print(f"fieldgap {name}: nothing to do, the result is known", file=sys.stderr)
        return
    done = importlib.import_module(f"fieldgap.{module}").run(**keywords)
    if job and basis and done is not False:
        results.keep(job, basis)


def main(argv: Sequence[str]) -> int:
    """Runs one stage. -> 0, 1 after one message about bad input, or 128 + a signal; wrong usage exits with 2."""
    given = parse(argv)
    name = given.pop("stage")
    end_with_engine()
    try:
        check_before_dvc(name, given)
        perform(name, arguments(COMMANDS[name], given))
        sys.stdout.flush()
    except BrokenPipeError:  # A reader such as `head` has enough. The interpreter's own last flush would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (InputError, StoppedError, KeyboardInterrupt) as error:
        print(f"fieldgap {name}: {str(error) or 'interrupted'}", file=sys.stderr)
        return 1 if isinstance(error, InputError) else 128 + getattr(error, "number", signal.SIGINT)
    return 0
