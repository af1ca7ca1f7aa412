"""Modules whose children are wired: each is called with what flows into it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

Wire = int | str
"""A value inside a replacement: the output of a step by its index, or an input of the part by its name."""


class Wired(nn.Module):
    """Children, each called with what flows into it; made by `Recipe.make`."""

    def __init__(
        self,
        children: Mapping[str, nn.Module],
        inputs: tuple[str, ...],
        wires: tuple[tuple[Wire, ...], ...],
        output: Wire,
    ) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)
        self.inputs = inputs
        self.wires = wires
        self.output = output

    def forward(self, *inputs: Tensor) -> Any:
        """One tensor, from the values of `inputs` by position."""
        values: dict[Wire, Any] = dict(zip(self.inputs, inputs, strict=True))
        for index, (child, wires) in enumerate(zip(self.children(), self.wires, strict=True)):
            values[index] = child(*(values[wire] for wire in wires))
        return values[self.output]


class Tapped(nn.Module):
    """A module of wired children that returns several of its values; made by `Recipe.tapped`."""

    def __init__(
        self,
        module: nn.Module,
        inputs: tuple[str, ...],
        wires: tuple[tuple[Wire, ...], ...],
        returned: tuple[Wire, ...],
    ) -> None:
        super().__init__()
        self.module = module
        self._inputs = inputs
        self._wires = wires
        self._returned = returned

    def forward(self, *inputs: Tensor) -> tuple[Any, ...]:
        """The values of the wires that are returned, from the values of `inputs` by position."""
        values: dict[Wire, Any] = dict(zip(self._inputs, inputs, strict=True))
        for index, (child, wires) in enumerate(zip(self.module.children(), self._wires, strict=True)):
            values[index] = child(*_safe(child, (values[wire] for wire in wires)))
        return tuple(values[wire] for wire in self._returned)


def _safe(child: nn.Module, values: Iterable[Any]) -> Iterable[Any]:
    """The values, or copies for a child that works in place, which would overwrite what is tapped."""
    if vars(child).get("inplace") is not True:
        return values
    return (value.clone() if isinstance(value, Tensor) else value for value in values)
