"""Errors that end a stage and are no defect of the program."""

from __future__ import annotations

import signal
from pathlib import Path


class InputError(Exception):
    """Bad input. The message names the file or key and the mend; the command line prints only that and exits with 1."""


class StoppedError(Exception):
    """A signal asked for a stop, and the work was saved. The command line exits with 128 + the signal's number."""

    def __init__(self, number: int, where: str) -> None:
        """Name the signal and the place, such as "at step 5"."""
        super().__init__(f"stopped by {signal.Signals(number).name} {where}")
        self.number = number


def unwritable(path: Path, error: OSError) -> InputError:
    """Return the error for a file or folder that cannot be written."""
    return InputError(f"{path}: cannot be written ({error.strerror}); check free space and permissions")
