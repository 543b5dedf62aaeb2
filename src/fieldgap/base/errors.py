"""Errors that end a stage and are no defect of the program."""

from __future__ import annotations

import errno
import re
import signal
from pathlib import Path

_DISK = {"ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES", "EPERM", "ENAMETOOLONG", "EMFILE", "ENFILE", "EFBIG"}
# How torch, OpenCV, Python's threads and the loader of libraries say that the system gave them no memory.
_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|insufficient memory|can't start new thread|failed to map segment"
    r"|out of memory|bad_alloc",
    re.IGNORECASE,
)


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


def refused_by_system(error: Exception) -> InputError | None:
    """Return what to say where the system gave no memory, no thread or no file; None for any other error."""
    if isinstance(error, OSError) and errno.errorcode.get(error.errno or 0) in _DISK:
        where = error.filename2 or error.filename or "a file"
        return InputError(f"{where}: cannot be used ({error.strerror}); check free space and permissions")
    if isinstance(error, MemoryError) or _MEMORY.search(str(error)):
        detail = f" ({' '.join(str(error).split())[:200]})" if str(error) else ""
        return InputError(f"memory: the system gave no more{detail}; end other programs, or raise the limit: ulimit -v")
    return None
