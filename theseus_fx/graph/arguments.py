"""Python arguments of a recorded call as arguments of a graph node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from theseus_fx.graph.batch import Batch
from theseus_fx.graph.demote import Unrecordable
from theseus_fx.graph.structure import is_record, parts

_PLAIN = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    torch.dtype,
    torch.layout,
    torch.memory_format,
    type(...),
)


class Arguments:
    """Turns arguments into nodes and constants; sizes and devices become computations of the graph."""

    def __init__(self, graph: fx.Graph, batch: Batch, node: Callable[[torch.Tensor], fx.Node]) -> None:
        self._graph = graph
        self._batch = batch
        self._node = node
        self._batch_node: fx.Node | None = None
        self._batch_place: tuple[fx.Node, int] | None = None
        self._device_place: fx.Node | None = None
        self._device_node: fx.Node | None = None

    def add_input(self, node: fx.Node, batch_dim: int | None) -> None:
        """Says that a placeholder is there: the first gives the device, the first with a batch its size."""
        if self._device_place is None:
            self._device_place = node
        if self._batch_place is None and batch_dim is not None:
            self._batch_place = (node, batch_dim)

    def argument(self, value: Any) -> Any:
        """A Python value as a graph has it.

        Raises:
            Unrecordable: it is of a type that a graph cannot hold, or depends on the values of a tensor.
        """
        if isinstance(value, torch.Tensor):
            return self._node(value)
        if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            return self._size(value)
        if type(value) in _PLAIN:
            return value
        if isinstance(value, torch.device):
            return self._device(value)
        if isinstance(value, slice):
            return slice(*(self.argument(bound) for bound in (value.start, value.stop, value.step)))
        if is_record(value):
            fields = {take[1]: self.argument(part) for take, part in parts(value)}
            return self._graph.call_function(type(value), (), fields)
        if type(value) in (tuple, list, torch.Size):
            items = [self.argument(item) for item in value]
            return items if isinstance(value, list) else tuple(items)
        if type(value) is dict:
            return {key: self.argument(item) for key, item in value.items()}
        raise Unrecordable(f"it passes an argument of type `{type(value).__qualname__}`")

    def _size(self, value: Any) -> Any:
        if self._batch_node is None and self._batch_place is not None:
            self._batch_node = self._graph.call_method("size", self._batch_place)
        if self._batch_node is None:
            raise Unrecordable("it computes with a number that depends on the values of a tensor")
        try:
            return self._batch.size_node(value, self._batch_node)
        except TypeError as error:
            raise Unrecordable(f"it computes with a number that has no graph form: {error}") from None

    def _device(self, device: torch.device) -> Any:
        """The device of the run is that of the first input, wherever it will be; others stay as they are."""
        if device.type != "cpu" or self._device_place is None:
            return device
        if self._device_node is None:
            self._device_node = self._graph.call_function(getattr, (self._device_place, "device"))
        return self._device_node
