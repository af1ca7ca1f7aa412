"""The machine and the versions that a run was made with, and the device it uses."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import torch

from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.version import __version__

PACKAGES = ("torch", "torchvision", "transformers", "numpy", "scikit-learn", "safetensors")


def choose_device(name: str) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`.

    Raises:
        Rejected: THX706 where it is not there.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise Rejected(
            Diagnostic(
                code="THX706",
                message=f"there is no device `{name}` on this machine",
                help=("torch sees no CUDA device; `--device cpu` runs without one",),
            )
        )
    return torch.device("cuda")


@contextmanager
def deterministic(device: torch.device, *, threads: int) -> Generator[None, None, None]:
    """While active, torch takes algorithms that give the same numbers every time, with so many threads.

    The number of threads decides the order of sums. On CUDA, where an operation has no deterministic
    algorithm, torch warns and takes the other one.
    """
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    benchmark = torch.backends.cudnn.benchmark
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark
        torch.set_num_threads(threads_before)


def describe(device: torch.device) -> dict[str, Any]:
    """Versions and machine as JSON values."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": platform.machine(),
        "theseus_fx": __version__,
        "packages": {name: version(name) for name in PACKAGES},
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
        "threads": torch.get_num_threads(),
    }
