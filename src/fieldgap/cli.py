"""The front door: parse a command line, then run a stage or restore its known result."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from fieldgap.base.errors import InputError, StoppedError, refused_by_system
from fieldgap.engines.commandline import arguments, parse
from fieldgap.engines.dvc_setup import set_up
from fieldgap.engines.orphan import end_with_engine
from fieldgap.engines.stages import COMMANDS, STAGES


def _perform(name: str, keywords: dict[str, Any]) -> None:
    """Run a subcommand. If a stage's result is known and not forced, restore it without loading the stage's module."""
    from fieldgap.engines import forcing, results
    from fieldgap.engines.jobs import job_of

    stage, kept = COMMANDS[name], name in STAGES and results.in_project()
    if stage.of_project:
        results.check_project()
    job = job_of(name, keywords) if kept or stage.key else None
    basis = results.current_basis(job) if job else None  # None too if an input is missing; the stage says which.
    forced = kept and job is not None and forcing.is_forced(job)
    if kept and job and basis:
        results.tidy(job)
        if not forced and results.restore(job, basis):
            print(f"fieldgap {name}: nothing to do, the result is known", file=sys.stderr)
            return
    key = {"key": basis.key if basis else ""} if stage.key else {}
    anew = {"anew": forced} if stage.resumes else {}
    done = importlib.import_module(f"fieldgap.{stage.module}").run(**keywords, **key, **anew)
    if kept and job and basis and done is not False:
        results.keep(job, basis, forced=forced)


def main(argv: Sequence[str]) -> int:
    """Run one subcommand.

    Returns:
        0; 1 after one message about bad input; or 128 + a signal. Wrong usage exits with 2.
    """
    name = argv[0] if argv else ""
    end_with_engine()
    try:
        set_up()
        given = parse(argv)
        _perform(name, arguments(COMMANDS[given.pop("stage")], given))
        sys.stdout.flush()
    except BrokenPipeError:  # A reader such as `head` has enough. The interpreter's own last flush would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (InputError, StoppedError, KeyboardInterrupt) as error:
        print(f"fieldgap {name}: {str(error) or 'interrupted'}", file=sys.stderr)
        return 1 if isinstance(error, InputError) else 128 + getattr(error, "number", signal.SIGINT)
    except Exception as error:
        if not (refused := refused_by_system(error)):
            raise
        print(f"fieldgap {name}: {refused}", file=sys.stderr)
        return 1
    return 0
