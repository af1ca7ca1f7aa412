"""One name for each function, however the model calls it, and what its operands are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import fx

_ALIASES: Mapping[str, str] = {
    "truediv": "div",
    "divide": "div",
    "true_divide": "div",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "multiply": "mul",
    "subtract": "sub",
    "concat": "cat",
    "concatenate": "cat",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "negative": "neg",
    "absolute": "abs",
    "clip": "clamp",
    "swapaxes": "transpose",
    "swapdims": "transpose",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "not_equal": "ne",
}

COMMUTATIVE = frozenset(
    {
        "add", "mul", "maximum", "minimum", "eq", "ne", "logical_and", "logical_or", "logical_xor",
        "bitwise_and", "bitwise_or", "bitwise_xor",
    }
)  # fmt: skip
"""Functions whose operands may stand in any order."""

_OPERANDS: Mapping[str, int] = {
    **dict.fromkeys(
        (
            "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
            "conv_transpose3d", "batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm",
            "embedding", "prelu",
        ),
        1,
    ),
    "scaled_dot_product_attention": 3,
}  # fmt: skip
"""Functions of which only the first tensors are operands; others are weights, masks or indices."""

Operand = fx.Node | int | float


@cache
def canonical(name: str) -> str:
    """The one name of a function: `__iadd__`, `add_`, `add` are `add`, `truediv` is `div`."""
    bare = name.strip("_")
    known = hasattr(torch.Tensor, bare[1:]) or bare[1:] in _ALIASES
    if name.startswith("__") and bare[:1] in ("i", "r") and known:
        bare = bare[1:]
    return _ALIASES.get(bare, bare)


def function_name(node: fx.Node) -> str | None:
    """The canonical name of the function that a node calls; None for modules, inputs and attributes."""
    match node.op:
        case "call_method":
            return canonical(str(node.target))
        case "call_function":
            return canonical(getattr(node.target, "__name__", type(node.target).__name__))
        case _:
            return None


def operands(node: fx.Node, name: str, is_tensor: Callable[[fx.Node], bool]) -> tuple[Operand, ...]:
    """The positional operands of a function call in order, with repetitions: tensors and plain numbers.

    The tensors of a list count one by one (`cat([a, b])`). Tensors that are given by keyword count only where
    none is positional. Weights, masks and indices of known functions do not count.
    """
    found = [*_flat(node.args, is_tensor)]
    if not any(isinstance(item, fx.Node) for item in found):
        found += _flat(tuple(node.kwargs.values()), is_tensor)
    most = _OPERANDS.get(name)
    if most is None:
        return tuple(found)
    return tuple(item for item in found if isinstance(item, fx.Node))[:most]


def arguments(node: fx.Node) -> dict[str, object]:
    """The arguments of a function call by name, as far as torch tells the names; tensors are left out."""
    if node.op == "call_method":
        function = getattr(torch.Tensor, str(node.target), None)
    else:
        function = node.target
    parameters = _parameters(function)
    named: dict[str, object] = {}
    for position, value in enumerate(node.args):
        if position < len(parameters):
            named[parameters[position]] = value
    named |= node.kwargs
    return {key: _plain(value) for key, value in named.items() if not isinstance(value, fx.Node)}


def _flat(value: object, is_tensor: Callable[[fx.Node], bool]) -> list[Operand]:
    if isinstance(value, fx.Node):
        return [value] if is_tensor(value) else []
    if isinstance(value, (tuple, list)):
        nested: list[Any] = [*value]  # pyright: ignore[reportUnknownArgumentType]
        return [item for part in nested for item in _flat(part, is_tensor)]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return [value]
    return []


def _plain(value: object) -> object:
    if isinstance(value, (list, tuple)):
        items: list[Any] = [*value]  # pyright: ignore[reportUnknownArgumentType]
        return tuple(_plain(item) for item in items)
    return value


@cache
def _parameters(function: Any) -> tuple[str, ...]:
    """The names of a function's parameters; torch's own functions tell them only to their tests."""
    known = function if inspect.isfunction(function) else _overrides().get(function)
    return () if known is None else tuple(inspect.signature(known).parameters)


@cache
def _overrides() -> Mapping[Any, Any]:
    return torch.overrides.get_testing_overrides()
