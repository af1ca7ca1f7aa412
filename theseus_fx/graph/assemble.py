"""Graph modules from a graph and the modules and tensors of a real model, by identity."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping

import torch
from torch import fx, nn


def attribute(model: nn.Module, target: str) -> nn.Module | torch.Tensor:
    """The module or tensor of a model that a node's target names.

    A module of torch that works in place comes as a copy that does not, and in eval mode; such modules hold
    no parameters. Everything else is the model's own.
    """
    owner, _, name = target.rpartition(".")
    value = getattr(model.get_submodule(owner), name)
    if not isinstance(value, nn.Module):
        return value
    if vars(value).get("inplace") is True and type(value).__module__.startswith("torch.nn."):
        value = copy.copy(value)
        vars(value)["inplace"] = False
        return value.eval()
    return value


def assemble(
    graph: fx.Graph,
    attributes: Mapping[str, nn.Module | torch.Tensor],
    *,
    persistent: Collection[str] = (),
) -> fx.GraphModule:
    """A graph module over the given modules and tensors, none of them copied.

    Args:
        graph: belongs to the graph module afterwards.
        attributes: by the targets of the graph's `call_module` and `get_attr` nodes. A tensor that already
            hangs below one of the modules is found there.
        persistent: targets of tensors that its `state_dict` has, where they are buffers.
    """
    root = nn.Module()
    for target in sorted(attributes, key=lambda target: (target.count("."), target)):
        _install(root, target, attributes[target], persistent=target in persistent)
    return fx.GraphModule(root, graph)


def _install(root: nn.Module, target: str, value: nn.Module | torch.Tensor, *, persistent: bool) -> None:
    *prefix, name = target.split(".")
    owner = root
    for item in prefix:
        child = getattr(owner, item, None)
        if not isinstance(child, nn.Module):
            child = nn.Module()
            owner.add_module(item, child)
        owner = child
    if getattr(owner, name, None) is value:
        return
    if isinstance(value, torch.Tensor) and not isinstance(value, nn.Parameter):
        owner.register_buffer(name, value, persistent=persistent)
    else:
        setattr(owner, name, value)
