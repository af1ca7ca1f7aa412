"""Activation checkpointing: modules that keep nothing for the backward pass and compute it again there."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def recomputed(modules: Iterable[nn.Module]) -> Generator[None, None, None]:
    """While active, each of the modules keeps its inputs only and runs again in the backward pass.

    Gradients are the same, for random numbers are drawn again as they were, and buffers (BatchNorm's
    statistics) end as one pass leaves them.
    """
    changed: list[tuple[nn.Module, Any]] = []
    try:
        for module in modules:
            changed.append((module, vars(module).get("forward")))
            module.forward = _again(module, module.forward)
        yield
    finally:
        for module, before in changed:
            if before is None:
                del module.forward
            else:
                module.forward = before


def blocks(model: nn.Module) -> list[nn.Module]:
    """What of a model to recompute: its blocks, the outermost modules in a `Sequential` or `ModuleList`.

    Where there are none, the model's own children. Modules without parameters are left out.
    """
    found = [*_in_containers(model)]
    return found or [child for child in model.children() if _has_parameters(child)]


def _in_containers(module: nn.Module) -> Iterator[nn.Module]:
    inside = isinstance(module, nn.Sequential | nn.ModuleList)
    for child in module.children():
        if inside and _has_parameters(child):
            yield child
        else:
            yield from _in_containers(child)


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _again(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _buffers_kept(module)

    def run(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)

    return run


@contextmanager
def _buffers_kept(module: nn.Module) -> Generator[None, None, None]:
    buffers = [*module.buffers()]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
