"""Where the arithmetic runs, and how exactly."""

from __future__ import annotations

import os

import torch

from fieldgap.errors import InputError


def why_not() -> str:
    """-> what torch says of CUDA where it finds none: no driver, one too old, or a build without CUDA."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0].rstrip(".")
    return "no device is visible"


def prepare(device: str, threads: int) -> torch.device:
    """-> the device of that name, with torch held to `threads` threads and to deterministic operations.

    `auto` is CUDA where there is one. Raises InputError when CUDA is asked for in vain.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device: cuda was asked for, but torch finds no CUDA device ({why_not()}); use auto or cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # Without it deterministic cuBLAS raises.
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # A guard for code that reads what it never wrote; to write all memory once more takes a fifteenth of a training.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def precision_context(device: torch.device, precision: str) -> torch.autocast:
    """-> autocast to bfloat16 for `bf16`, or to nothing for `fp32`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
