"""The call convention of a replaced module: what its replacement takes of a call, where its output goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from theseus_fx.graph.boundary import (
    Constant,
    Group,
    Handed,
    Leaf,
    Opaque,
    Place,
    Structure,
    opaques,
    reference,
    referenced,
)
from theseus_fx.graph.structure import is_record
from theseus_fx.graph.trace import ModuleCall

_PLAIN: Mapping[str, type[Any]] = {"tuple": tuple, "list": list, "dict": dict}


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """How code written for a module calls what stands in its place."""

    takes: tuple[Place, ...]
    """The arguments that the replacement gets, in its order."""
    returns: Structure
    """What that code expects back. A `Leaf` is the replacement's output; other tensors have become None."""

    def taken(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """What the replacement takes of the arguments of a call.

        Raises:
            TypeError: an argument is not there.
        """
        return tuple(_at(place, args, kwargs) for place in self.takes)

    def returned(self, output: torch.Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What a call returns, with the replacement's output in it."""
        return _filled(self.returns, output, args, kwargs)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; `Convention.from_json` reads them back."""
        return {"takes": [_place_json(place) for place in self.takes], "returns": _json(self.returns)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Convention:
        """The inverse of `as_json`.

        Raises:
            KeyError, TypeError, ImportError, AttributeError: it was not made by `as_json`, or names a class
                that is not there.
        """
        takes = tuple(_place_from(place) for place in value["takes"])
        return cls(takes=takes, returns=_from_json(value["returns"]))


def convention_of(call: ModuleCall, taken: Sequence[str]) -> Convention | None:
    """The convention for a replacement of a call; None where it is called as a replacement is anyway.

    Args:
        call: a call with one output that the model uses.
        taken: the nodes of the inputs that the replacement takes, in its order.

    Raises:
        ValueError: the call has no single output, returns what no replacement can, or has no such input.
    """
    if call.node is None or any(opaques(call.returns)):
        raise ValueError(f"no replacement can return what `{call.name}` returns")
    places = {entry.node: entry.place for entry in call.arguments}
    if missing := [node for node in taken if node not in places]:
        raise ValueError(f"`{call.name}` has no input `{missing[0]}`")
    if call.bare and len(taken) == 1:
        return None
    takes = tuple(places[node] for node in taken)
    return Convention(takes=takes, returns=_only(call.returns, call.node))


def _only(structure: Structure, node: str) -> Structure:
    """The structure with None for every tensor but one."""
    match structure:
        case Leaf():
            return Leaf("", None) if structure.node == node else Constant(None)
        case Group():
            items = tuple(_only(item, node) for item in structure.items)
            return Group(structure.kind, structure.keys, items)
        case _:
            return structure


def _at(place: Place, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    if place.position is not None and place.position < len(args):
        value = args[place.position]
    elif place.parameter in kwargs:
        value = kwargs[place.parameter]
    else:
        raise TypeError(f"forward() is called without the argument `{place.parameter}`")
    for step in place.steps:
        keyed = isinstance(value, Mapping) or not is_record(value)
        value = cast("Any", value)[step] if keyed else getattr(value, str(step))
    return value


def _filled(
    structure: Structure, output: torch.Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    match structure:
        case Leaf():
            return output
        case Constant(value):
            return value
        case Handed(place):
            return _at(place, args, kwargs)
        case Group(kind, keys, items):
            filled = [_filled(item, output, args, kwargs) for item in items]
            if kind in (tuple, list):
                return kind(filled)
            if kind is dict:
                return dict(zip(keys, filled, strict=True))
            if issubclass(kind, tuple):
                return kind(*filled)
            return kind(**dict(zip(map(str, keys), filled, strict=True)))
        case Opaque():
            raise TypeError(f"{structure.what} has no form here")


def _place_json(place: Place) -> dict[str, Any]:
    return {"parameter": place.parameter, "position": place.position, "steps": list(place.steps)}


def _place_from(value: Mapping[str, Any]) -> Place:
    return Place(parameter=value["parameter"], position=value["position"], steps=tuple(value["steps"]))


def _json(structure: Structure) -> dict[str, Any]:
    match structure:
        case Leaf():
            return {"output": True}
        case Constant(value):
            return {"constant": value}
        case Handed(place):
            return {"argument": _place_json(place)}
        case Group(kind, keys, items):
            name = kind.__name__ if kind in _PLAIN.values() else reference(kind)
            return {"group": name, "keys": list(keys), "items": [_json(item) for item in items]}
        case Opaque():
            raise TypeError(f"{structure.what} has no form here")


def _from_json(value: Mapping[str, Any]) -> Structure:
    match value:
        case {"output": True}:
            return Leaf("", None)
        case {"constant": constant}:
            return Constant(constant)
        case {"argument": place}:
            return Handed(_place_from(place))
        case {"group": str() as name, "keys": keys, "items": items}:
            kind = _PLAIN[name] if name in _PLAIN else referenced(name)
            return Group(kind, tuple(keys), tuple(_from_json(item) for item in items))
        case _:
            raise TypeError(f"{value!r} is no structure that a call returns")
