"""The boundary of a module call: the tensors that flow in, by parameter, and the structure that comes out."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from theseus_fx.graph.structure import is_record, parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a call has a value: an argument of it, or a part of an argument."""

    parameter: str
    """`hidden_states`; what a `**kwargs` collects has its keyword, what `*args` collects `args.0`."""
    position: int | None
    """Among the positional arguments; None where it can only come by keyword."""
    steps: tuple[int | str, ...] = ()
    """Indices, keys and fields that lead from the argument to the part."""

    @property
    def name(self) -> str:
        """`position_embeddings.0`."""
        return ".".join([self.parameter, *map(str, self.steps)])


@dataclass(frozen=True, slots=True, kw_only=True)
class CallInput:
    """One tensor that flows into a call."""

    place: Place
    """The first place that has it."""
    node: str
    """The graph node whose value it is."""

    @property
    def name(self) -> str:
        """The name of its place: `hidden_states`."""
        return self.place.name


@dataclass(frozen=True, slots=True)
class Leaf:
    """A tensor in what a call returns."""

    name: str
    """Its place in the structure: `0`, `last_hidden_state`; empty for a bare tensor."""
    node: str | None
    """The graph node whose value it is; None where the run made none."""


@dataclass(frozen=True, slots=True)
class Handed:
    """An argument of the call that stands in what it returns."""

    place: Place


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is the same in every call."""

    value: bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Opaque:
    """Something that nothing but the module itself can make."""

    name: str
    """Its place in the structure."""
    what: str
    """`a number that depends on the batch`."""


@dataclass(frozen=True, slots=True)
class Group:
    """A tuple, list, dict, or an instance of a dataclass or named tuple."""

    kind: type[Any]
    keys: tuple[int | str, ...]
    items: tuple[Structure, ...]


Structure = Leaf | Handed | Constant | Opaque | Group
"""What a call returns, without the tensors."""


def leaves(structure: Structure) -> Iterator[Leaf]:
    """Every tensor of a structure, in order."""
    if isinstance(structure, Leaf):
        yield structure
    elif isinstance(structure, Group):
        for item in structure.items:
            yield from leaves(item)


def opaques(structure: Structure) -> Iterator[Opaque]:
    """What in a structure a replacement could not return."""
    if isinstance(structure, Opaque):
        yield structure
    elif isinstance(structure, Group):
        for item in structure.items:
            yield from opaques(item)


def named_tensors(
    forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[tuple[Place, torch.Tensor]]:
    """Every tensor among the arguments, in the order of the parameters of `forward`, with repetitions."""
    for place, value in _arguments(forward, args, kwargs):
        for steps, tensor in _tensors(value):
            yield Place(parameter=place.parameter, position=place.position, steps=steps), tensor


def structure_of(
    result: object, node_of: Callable[[torch.Tensor], str | None], handed: Mapping[str, Place]
) -> Structure:
    """The structure of what a call returned.

    Args:
        result: of the fake run.
        node_of: the node that a tensor stands for.
        handed: the places of the call's inputs, by node. A bare tensor is an output in any case.
    """
    if isinstance(result, torch.Tensor):
        return Leaf("", node_of(result))
    return _structure(result, "", node_of, handed)


def reference(kind: type[Any]) -> str:
    """`transformers.modeling_outputs:BaseModelOutput`: how a class is found again."""
    return f"{kind.__module__}:{kind.__qualname__}"


def referenced(name: str) -> type[Any]:
    """The class of a reference.

    Raises:
        ImportError, AttributeError: there is none.
    """
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for step in path.split("."):
        found = getattr(found, step)
    return found


def _arguments(
    forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[tuple[Place, Any]]:
    try:
        signature = inspect.signature(forward)
        bound = signature.bind(*args, **kwargs).arguments
    except (TypeError, ValueError):  # not Python, or a call that will fail by itself
        for position, value in enumerate(args):
            yield Place(parameter=str(position), position=position), value
        for key, value in kwargs.items():
            yield Place(parameter=key, position=None), value
        return
    for position, (name, parameter) in enumerate(signature.parameters.items()):
        if name not in bound:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            for index, value in enumerate(bound[name]):
                yield Place(parameter=f"{name}.{index}", position=position + index), value
        elif parameter.kind is parameter.VAR_KEYWORD:
            for key, value in bound[name].items():
                yield Place(parameter=key, position=None), value
        else:
            by_keyword = parameter.kind is parameter.KEYWORD_ONLY
            yield Place(parameter=name, position=None if by_keyword else position), bound[name]


def _tensors(value: object) -> Iterator[tuple[tuple[int | str, ...], torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield (), value
        return
    for (_, key), part in parts(value):
        for steps, tensor in _tensors(part):
            yield (key, *steps), tensor


def _structure(
    value: object, name: str, node_of: Callable[[torch.Tensor], str | None], handed: Mapping[str, Place]
) -> Structure:
    if isinstance(value, torch.Tensor):
        node = node_of(value)
        return Leaf(name, node) if node is None or node not in handed else Handed(handed[node])
    if value is None or isinstance(value, (bool, int, float, str)):
        return Constant(value)
    if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        return Opaque(name, "a number that depends on the batch")
    kind = _kind(value)
    found = [(key, part) for (_, key), part in parts(value)]
    if kind is None or not all(isinstance(key, (int, str)) for key, _ in found):
        return Opaque(name, f"a `{type(value).__qualname__}`")
    items = (_structure(part, f"{name}.{key}" if name else str(key), node_of, handed) for key, part in found)
    return Group(kind, tuple(key for key, _ in found), tuple(items))


def _kind(value: object) -> type[Any] | None:
    """The class to make the structure of again; None where that is not known."""
    kind = type(value)
    if is_record(value) or (isinstance(value, tuple) and hasattr(kind, "_fields")):
        try:
            return kind if referenced(reference(kind)) is kind else None
        except (ImportError, AttributeError):
            return None
    for plain in (tuple, list, dict):
        if isinstance(value, plain):
            return plain
    return None
