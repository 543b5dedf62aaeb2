"""Where the arithmetic runs, and how exactly."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import TYPE_CHECKING, Any

import torch

from fieldgap.base.errors import InputError
from fieldgap.network import gpus

if TYPE_CHECKING:
    pass


def why_not() -> str:
    """-> what torch says of CUDA where it finds none: no driver, one too old, or a build without CUDA."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0].rstrip(".")
    return "no device is visible"


def keep_memory() -> None:
    """Has glibc keep memory that torch frees. To get it from the system anew costs an eighth of an epoch on the CPU."""
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of its malloc.h, in bytes.
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 2**30)
        libc.mallopt(trim_threshold, 2**31 - 1)


def prepare(device: str, threads: int) -> torch.device:
    """-> the device of that name, with torch held to `threads` threads and to deterministic operations.

    `auto` is CUDA where there is one. Of several GPUs the least busy one becomes torch's current one. Raises InputError
    when CUDA is asked for in vain.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device: cuda was asked for, but torch finds no CUDA device ({why_not()}); use auto or cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # Without it deterministic cuBLAS raises.
    torch.set_num_threads(threads)
    # As use_deterministic_algorithms(True), which also takes a second to load torch's compiler.
    torch.set_deterministic_debug_mode("error")
    # A guard for code that reads what it never wrote; to write all memory once more takes a fifteenth of a training.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    keep_memory()
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if (count := torch.cuda.device_count()) > 1:
        rank = os.environ.get("LOCAL_RANK")  # Under torchrun each process has a GPU of its own, as NCCL wants it.
        torch.cuda.set_device(gpus.least_busy(count) if rank is None else int(rank) % count)
    return torch.device("cuda")


def precision_context(device: torch.device, precision: str) -> torch.autocast:
    """-> autocast to bfloat16 for `bf16`, or to nothing for `fp32`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def machine(device: torch.device) -> dict[str, Any]:
    """-> what two machines may differ in while key_of() is the same: bytes repeat where all of this does."""
    on_cuda = device.type == "cuda"
    return {
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if on_cuda else "cpu",
        "cuda": torch.version.cuda if on_cuda else None,
        "cudnn": torch.backends.cudnn.version() if on_cuda else None,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }
