"""A copy of a model whose tensors have shapes and no memory, to be run on fake tensors."""

from __future__ import annotations

import copy
import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.nn.parameter import is_lazy

from theseus_fx.graph.transformers_models import without_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Weightless:
    """The copy, in eval mode, and where its tensors belong."""

    module: nn.Module
    names: dict[int, str]
    """The dotted name of every parameter, buffer and plain tensor attribute, by the id of its fake tensor."""


def weightless(model: nn.Module, mode: FakeTensorMode) -> Weightless:
    """Copies a model without its weights; the model itself is neither run nor changed.

    Every tensor that is an attribute of a module becomes a fake CPU tensor of `mode`, so that a model on the
    meta device, on a GPU or with real weights gives the same copy. Nothing asks for gradients, but the
    gradient mode is left on, so that a change of it can be seen. No cache of keys and values is kept.

    Raises:
        ValueError: a parameter has no shape yet (a lazy module).
        Exception: whatever `copy.deepcopy` raises on the model's other attributes.
    """
    memo: dict[int, object] = {}
    names: dict[int, str] = {}
    for name, tensor in _tensors(model):
        if id(tensor) in memo:
            continue
        fake = _fake(name, tensor, mode)
        memo[id(tensor)] = fake
        names[id(fake)] = name
    return Weightless(module=without_cache(copy.deepcopy(model, memo)).eval(), names=names)


def fixed_mode() -> FakeTensorMode:
    """A mode for runs at fixed sizes; numbers read from tensors become unknowns instead of errors."""
    return FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)


@contextmanager
def fake_run(mode: FakeTensorMode) -> Generator[None, None, None]:
    """The surroundings of a run on fake tensors: shapes only, gradient mode on, every module unfused.

    The fused attention path of `nn.MultiheadAttention` has no shape rules; it is switched off meanwhile. So
    is torch's log of failures on fake tensors: they come as exceptions, and become diagnostics.
    """
    log = logging.getLogger("torch._subclasses.fake_tensor")
    silent = log.disabled
    log.disabled = True
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with mode, torch.enable_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        log.disabled = silent


def _tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter and buffer under its first `state_dict` name, then plain attributes."""
    yield from model.named_parameters()
    yield from model.named_buffers()
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, torch.Tensor):
                yield (f"{path}.{name}" if path else name), value


def _fake(name: str, tensor: torch.Tensor, mode: FakeTensorMode) -> torch.Tensor:
    if is_lazy(tensor):
        raise ValueError(
            f"the parameter `{name}` has no shape yet: run the lazy module once before tracing it"
        )
    with mode:
        if tensor.layout == torch.strided:
            fake = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="cpu")
        else:
            fake = torch.empty(tensor.size(), dtype=tensor.dtype, layout=tensor.layout, device="cpu")
        return nn.Parameter(fake, requires_grad=False) if isinstance(tensor, nn.Parameter) else fake
