"""Constructing a network without memory for its weights and without drawing a random number."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook


@contextmanager
def weightless() -> Generator[None, None, None]:
    """While it holds, parameters that this thread registers with a module go to the meta device.

    Initialisation then does nothing, and the global generator is as before afterwards. Buffers stay
    real. (`with torch.device("meta")` would make every tensor a meta tensor, which breaks constructors
    that compute their layout with tensors, such as torchvision's RegNet.)
    """
    thread = threading.get_ident()

    def to_meta(_module: nn.Module, _name: str, parameter: nn.Parameter) -> nn.Parameter | None:
        if parameter.is_meta or threading.get_ident() != thread:
            return None  # shared parameters stay one object
        return nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)

    hook: Any = to_meta  # torch's stub denies the documented return value
    handle = register_module_parameter_registration_hook(hook)
    try:
        with torch.random.fork_rng(devices=()):
            yield
    finally:
        handle.remove()
