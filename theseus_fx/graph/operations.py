"""Torch functions as graph operations: what is called, on what, and what it writes to."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch.nn import functional

from theseus_fx.graph.demote import Unrecordable

_IN_PLACE_OPERATORS = {
    f"__i{name}__": getattr(operator, name)
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "xor")
} | {"__idiv__": operator.truediv, "__iand__": operator.and_, "__ior__": operator.or_}

_REFLECTED_OPERATORS = {
    f"__r{name}__": getattr(operator, name)
    for name in (
        "add",
        "sub",
        "mul",
        "truediv",
        "floordiv",
        "mod",
        "pow",
        "matmul",
        "lshift",
        "rshift",
        "xor",
    )
} | {"__rdiv__": operator.truediv, "__rand__": operator.and_, "__ror__": operator.or_}

_NOT_THE_SAME_WITHOUT_UNDERSCORE = frozenset({"bernoulli_", "resize_", "requires_grad_", "resize_as_"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call of a torch function or tensor method, without side effects."""

    op: Literal["call_function", "call_method"]
    target: Callable[..., Any] | str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    writes: torch.Tensor | None = None
    """The tensor that the original call overwrites with the result."""

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The result on any arguments, its own or others."""
        if isinstance(self.target, str):
            return getattr(args[0], self.target)(*args[1:], **kwargs)
        return self.target(*args, **kwargs)


def operation(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Operation:
    """The graph operation for a call that a `TorchFunctionMode` saw.

    Tensor methods become `call_method`, operators functions of `operator`, all else `call_function`; in-place
    forms become their out-of-place twins; keywords that only repeat a default are dropped.

    Raises:
        Unrecordable: the call sets items or attributes of a tensor, or has no out-of-place twin.
    """
    name: str = getattr(func, "__name__", type(func).__name__)
    if name in ("__set__", "__delete__", "__setitem__"):
        what = "items" if name == "__setitem__" else "an attribute"
        raise Unrecordable(f"it sets {what} of a tensor")
    if kwargs.get("out") is not None:
        raise Unrecordable(f"it calls `{name}` with `out=`")
    if name == "__get__":
        return Operation(op="call_function", target=getattr, args=(args[0], _attribute(func)), kwargs={})
    method = _methods().get(func)
    if method is not None:
        return _method(method, args, kwargs)
    if name.endswith("_") and not name.endswith("__"):
        return Operation(
            op="call_function",
            target=_twin(name, func),
            args=args,
            kwargs=kwargs,
            writes=_first(args, kwargs),
        )
    if kwargs.get("inplace"):
        rest = {key: value for key, value in kwargs.items() if key != "inplace"}
        written = _first(args, kwargs) if kwargs.get("training", True) else None
        return Operation(
            op="call_function", target=func, args=args, kwargs=_without_defaults(func, rest), writes=written
        )
    return Operation(op="call_function", target=func, args=args, kwargs=_without_defaults(func, kwargs))


def _method(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Operation:
    if name in _IN_PLACE_OPERATORS:
        return Operation(
            op="call_function", target=_IN_PLACE_OPERATORS[name], args=args, kwargs=kwargs, writes=args[0]
        )
    if name in _REFLECTED_OPERATORS:
        swapped = (args[1], args[0])
        return Operation(op="call_function", target=_REFLECTED_OPERATORS[name], args=swapped, kwargs=kwargs)
    if name.startswith("__"):
        target = getattr(operator, name, None)
        if target is None:
            return Operation(op="call_method", target=name, args=args, kwargs=kwargs)
        return Operation(op="call_function", target=target, args=args, kwargs=kwargs)
    if not name.endswith("_"):
        defaults = _without_defaults(getattr(torch.Tensor, name), kwargs)
        return Operation(op="call_method", target=name, args=args, kwargs=defaults)
    twin = name[:-1]
    if name in _NOT_THE_SAME_WITHOUT_UNDERSCORE or not callable(getattr(torch.Tensor, twin, None)):
        raise Unrecordable(f"it calls `Tensor.{name}`, which has no out-of-place form")
    return Operation(op="call_method", target=twin, args=args, kwargs=kwargs, writes=args[0])


def _twin(name: str, func: Callable[..., Any]) -> Callable[..., Any]:
    twin = getattr(torch, name[:-1], None) or getattr(functional, name[:-1], None)
    if name in _NOT_THE_SAME_WITHOUT_UNDERSCORE or not callable(twin):
        raise Unrecordable(f"it calls `{getattr(func, '__module__', 'torch')}.{name}`, which works in place")
    return twin


def _first(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.Tensor:
    written = args[0] if args else kwargs.get("input")
    if not isinstance(written, torch.Tensor):
        raise Unrecordable("it works in place on something that is not a tensor")
    return written


def _attribute(func: Callable[..., Any]) -> str:
    descriptor: Any = getattr(func, "__self__")  # noqa: B009 - pyright knows no `__self__` of a callable
    return getattr(descriptor, "fget", descriptor).__name__  # a property, or a slot of C


def _without_defaults(func: Callable[..., Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Functions of `torch.nn.functional` arrive with every keyword spelled out; those that say something."""
    if not kwargs:
        return kwargs
    defaults = _defaults(func)
    return {
        key: value for key, value in kwargs.items() if not (key in defaults and _same(value, defaults[key]))
    }


def _same(value: object, default: object) -> bool:
    return (
        type(value) is type(default) and isinstance(value, (int, float, str, type(None))) and value == default
    )


@cache
def _defaults(func: Callable[..., Any]) -> Mapping[str, Any]:
    if not inspect.isfunction(func):
        return {}
    parameters = inspect.signature(func).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


@cache
def _methods() -> Mapping[Any, str]:
    """The name of every tensor method, plain names before operators."""
    names: dict[Any, str] = {}
    for name in sorted(dir(torch.Tensor), key=lambda name: (name.startswith("_"), name)):
        member = inspect.getattr_static(torch.Tensor, name)
        if callable(member) and not isinstance(member, type):
            names.setdefault(member, name)
    return names
