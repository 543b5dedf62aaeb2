"""NumPy files that grow."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np


class NpyWriter:
    """Append arrays of uint8 to a new .npy file, along its first axis.

    NumPy pads the header, so that it can be rewritten in place once the length is known.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        """Create the file for arrays of `shape`."""
        self._file, self._shape, self._count = path.open("w+b"), shape, 0
        self._write_header()

    def _write_header(self) -> None:
        self._file.seek(0)
        header = {"descr": "|u1", "fortran_order": False, "shape": (self._count, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def extend(self, arrays: np.ndarray) -> None:
        """Append contiguous arrays (N, *shape)."""
        self._file.write(arrays.data)
        self._count += len(arrays)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._write_header()
        self._file.close()
