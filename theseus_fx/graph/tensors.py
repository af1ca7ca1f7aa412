"""Which node each tensor of a fake run stands for, through views, aliases and in-place writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from theseus_fx.graph.demote import Unrecordable


class TensorNodes:
    """The node of every tensor that a fake run has made so far.

    An in-place write moves every tensor with the same memory and geometry to the node of the result; other
    views of that memory are lost, which matters only if the model uses them again.
    """

    def __init__(self, graph: fx.Graph, attributes: Mapping[int, str]) -> None:
        self._graph = graph
        self._attributes = attributes
        self._nodes: dict[int, tuple[torch.Tensor, fx.Node]] = {}
        self._sharing: dict[int, list[int]] = {}
        self._lost: dict[int, int] = {}

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return id(tensor) in self._nodes and id(tensor) not in self._lost

    def is_attribute(self, tensor: torch.Tensor) -> bool:
        """Whether it is a parameter, buffer or plain attribute of a module."""
        return id(tensor) in self._attributes

    def is_lost(self, tensor: torch.Tensor) -> bool:
        """Whether another view of the tensor was written to, so that no node has its value."""
        return id(tensor) in self._lost

    def put(self, tensor: torch.Tensor, node: fx.Node) -> None:
        """Says that the tensor now stands for the node, and keeps it alive."""
        key = id(tensor)
        if key not in self._nodes:
            self._sharing.setdefault(_memory(tensor), []).append(key)
        self._nodes[key] = (tensor, node)
        self._lost.pop(key, None)

    def node(self, tensor: torch.Tensor) -> fx.Node:
        """The node that the tensor stands for; the first use of a module's attribute makes its node.

        Raises:
            Unrecordable: the tensor was made where nothing is recorded, or a view of it was written to.
        """
        key = id(tensor)
        if key in self._lost:
            raise Unrecordable(
                "it uses a tensor again after another view of it was written to in place", self._lost[key]
            )
        if key in self._nodes:
            return self._nodes[key][1]
        if key not in self._attributes:
            raise Unrecordable(
                "it uses a tensor that is neither an attribute of a module nor made by a recorded call"
            )
        node = self._graph.get_attr(self._attributes[key])
        self.put(tensor, node)
        return node

    def write(self, tensor: torch.Tensor, node: fx.Node, frame: int) -> None:
        """Records that `tensor` was overwritten in place, inside `frame`, with the value of `node`."""
        for key in self._sharing[_memory(tensor)]:
            other = self._nodes[key][0]
            if _geometry(other) == _geometry(tensor):
                self._nodes[key] = (other, node)
            else:
                self._lost[key] = frame


def _memory(tensor: torch.Tensor) -> int:
    if tensor.layout != torch.strided:
        return id(tensor)
    storage: Any = tensor.untyped_storage()
    return storage._cdata


def _geometry(tensor: torch.Tensor) -> tuple[object, ...]:
    return (tensor.dtype, str(tensor.shape), str(tensor.stride()), str(tensor.storage_offset()))
