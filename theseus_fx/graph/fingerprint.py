"""A fingerprint of a traced model: equal where the same graph meets the same parameters by name and shape."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import fx, nn

from theseus_fx.graph.trace import ModuleCall, Trace


def fingerprint(trace: Trace, model: nn.Module) -> str:
    """The hexadecimal SHA-256 of the graph, the module calls, and the names and shapes of the parameters.

    It covers operations, paths, classes, settings of modules of torch, shapes and dtypes; never weights, so
    that the model may be on the meta device. It is the same in every process.
    """
    document = {
        "inputs": [str(spec) for spec in trace.inputs],
        "nodes": [_node(trace, node) for node in trace.graph.nodes],
        "calls": [_call(call, model) for call in trace.calls],
        "state": [
            [name, list(tensor.shape), str(tensor.dtype)]
            for name, tensor in sorted(model.state_dict().items())
        ],
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _node(trace: Trace, node: fx.Node) -> list[Any]:
    target = node.target if isinstance(node.target, str) else _qualified(node.target)
    value = trace.values.get(node.name)
    described = None if value is None else [list(value.shape), str(value.dtype)]
    return [node.name, node.op, target, _plain(node.args), _plain(node.kwargs), described]


def _call(call: ModuleCall, model: nn.Module) -> list[Any]:
    module = model.get_submodule(call.path)
    of_torch = type(module).__module__.startswith("torch.nn.")
    settings = module.extra_repr() if of_torch else ""
    return [call.name, call.module_class.__qualname__, call.node, list(call.inputs), call.leaf, settings]


def _plain(value: Any) -> Any:
    """An argument of a node as JSON, without anything that differs between processes."""
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, slice):
        return {"slice": [_plain(value.start), _plain(value.stop), _plain(value.step)]}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, complex, torch.dtype, torch.device, torch.layout, torch.memory_format)):
        return repr(value)
    return "..." if value is ... else repr(value)


def _qualified(target: Any) -> str:
    name = getattr(target, "__qualname__", None) or getattr(target, "__name__", None)
    if name is None:
        raise ValueError(f"the operation {target!r} has no name that would be the same in another process")
    return f"{getattr(target, '__module__', None) or 'torch'}.{name}"
