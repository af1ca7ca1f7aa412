"""A matrix is zeroed, or left alone, as a flag on its device says, without waiting for the device."""

from __future__ import annotations

import importlib.util

from torch import Tensor


def zero_unless(flag: Tensor, x: Tensor) -> None:
    """Writes zeros to all of x where the flag is false, in place.

    Where Triton is installed, an x that stays as it is is not even read.

    Args:
        flag: (), bool, on the device of `x`.
        x: contiguous, on a CUDA device.
    """
    if importlib.util.find_spec("triton") is None:
        x.masked_fill_(~flag, 0)
        return
    from theseus_fx.similarity.kernels import zero_unless as kernel

    kernel(flag, x)
