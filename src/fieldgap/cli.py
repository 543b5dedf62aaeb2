"""The command line: one subcommand a stage, explicit paths, typed flags that are never abbreviated."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fieldgap.base.errors import InputError, StoppedError
from fieldgap.engines import results
from fieldgap.engines.commandline import arguments, parse
from fieldgap.engines.jobs import job_of
from fieldgap.engines.orphan import end_with_engine
from fieldgap.engines.stages import COMMANDS, STAGES
from fieldgap.settings import params


def check_before_dvc(name: str, given: dict[str, Any]) -> None:
    """Refuses a bad params.yaml before the first command of a `dvc repro`: DVC has no place to check values itself.

    No value is taken from the file. Snakemake's place for the same check is the top of the Snakefile.
    """
    if "DVC_STAGE" not in os.environ or not Path("params.yaml").exists():
        return
    data = params.read(Path("params.yaml")).data
    for key, folder in (("images", Path(data.images)), ("masks", Path(data.masks))):
        if not folder.is_dir() and not (name == "demo" and folder == Path(given[key])):
            raise InputError(f"{folder}: no such folder; set data.{key} to the folder that holds your {key}")


def perform(name: str, keywords: dict[str, Any]) -> None:
    """Runs a subcommand; a stage whose result is known is restored instead, and its module not even loaded."""
    stage, kept = COMMANDS[name], name in STAGES and results.in_project()
    job = job_of(name, keywords) if kept or stage.key else None
    basis = results.current_basis(job) if job else None  # None too where an input is missing, which the stage tells.
    if kept and job and basis and results.restore(job, basis):
        print(f"fieldgap {name}: nothing to do, the result is known", file=sys.stderr)
        return
    key = {"key": basis.key if basis else ""} if stage.key else {}
    done = importlib.import_module(f"fieldgap.{stage.module}").run(**keywords, **key)
    if kept and job and basis and done is not False:
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
