"""Where torch computes and how exactly, and what its results depend on beside their inputs."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any

import torch

from fieldgap.base.errors import InputError
from fieldgap.network import gpus


def prepare(device: str, threads: int) -> torch.device:
    """Set torch up for deterministic results, and return the device to compute on.

    Args:
        device: `cpu`, `cuda`, or `auto` for CUDA if there is any. The least busy of several GPUs becomes the current
            one of torch.
        threads: How many threads torch may use on the CPU.

    Raises:
        InputError: If CUDA is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device: cuda was asked for, but torch finds no CUDA device ({_no_cuda()}); use auto or cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # Without it deterministic cuBLAS raises.
    torch.set_num_threads(threads)
    # Like use_deterministic_algorithms(True), which spends a second more on loading torch's compiler.
    torch.set_deterministic_debug_mode("error")
    # It guards code that reads memory before writing it; filling all memory takes a fifteenth of a training's time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    _keep_freed_memory()
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if (count := torch.cuda.device_count()) > 1:
        rank = os.environ.get("LOCAL_RANK")  # Under torchrun each process gets its own GPU, as NCCL demands.
        torch.cuda.set_device(gpus.least_busy(count) if rank is None else int(rank) % count)
    return torch.device("cuda")


def _no_cuda() -> str:
    """Return why torch finds no CUDA device: no driver, one too old, or a build without CUDA."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0].rstrip(".")
    return "no device is visible"


def _keep_freed_memory() -> None:
    """Make glibc keep memory that torch frees: getting it back from the system costs an eighth of an epoch on a CPU."""
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of its malloc.h, in bytes.
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 2**30)
        libc.mallopt(trim_threshold, 2**31 - 1)


def precision_context(device: torch.device, precision: str) -> torch.autocast:
    """Return autocast to bfloat16 for `bf16`, or a context without effect for `fp32`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def machine(device: torch.device) -> dict[str, Any]:
    """Return what may change the bytes of a result although its key is the same.

    Two results of one key have the same bytes if they agree in all of this.
    """
    on_cuda = device.type == "cuda"
    return {
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if on_cuda else "cpu",
        "cuda": torch.version.cuda if on_cuda else None,
        "cudnn": torch.backends.cudnn.version() if on_cuda else None,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }
