"""A traced graph prepared for searching: nodes by function and by module class, and what a call covers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

from torch import fx, nn

from theseus_fx.graph.trace import ModuleCall, Trace
from theseus_fx.match.ops.names import COMMUTATIVE, Operand, function_name, operands
from theseus_fx.match.pattern import attributes_of, class_names

_NO_VALUES = ("get_attr", "output")
_TAKING = ("getitem", "getattr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Made by `make_index`; answers are in graph order."""

    trace: Trace
    model: nn.Module = field(repr=False)
    position: Mapping[str, int] = field(repr=False)
    """Of each node in the graph."""
    functions: Mapping[str, tuple[fx.Node, ...]] = field(repr=False)
    """Nodes by the canonical name of the function that they call."""
    classes: Mapping[str, tuple[fx.Node, ...]] = field(repr=False)
    """Output nodes of module calls by the names of the class and of its bases."""
    called: Mapping[str, frozenset[str]] = field(repr=False)
    """The names of the function and of the classes that a pattern may use for a node, by node."""
    tensors: frozenset[str] = field(repr=False)
    """Nodes that are tensors or structures of tensors."""
    calls: Mapping[str, tuple[ModuleCall, ...]] = field(repr=False)
    """Module calls by their output node; the outermost first."""
    _inputs: dict[int, tuple[fx.Node, ...]] = field(default_factory=dict, repr=False)
    _operands: dict[str, tuple[Operand, ...]] = field(default_factory=dict, repr=False)
    _orders: dict[tuple[str, int], tuple[tuple[Operand, ...], ...]] = field(default_factory=dict, repr=False)
    _covered: dict[int, frozenset[str]] = field(default_factory=dict, repr=False)
    _attributes: dict[str, Mapping[str, object]] = field(default_factory=dict, repr=False)

    def operands(self, node: fx.Node) -> tuple[Operand, ...]:
        """The operands of a function call."""
        if node.name not in self._operands:
            name = function_name(node) or ""
            self._operands[node.name] = operands(node, name, self.is_tensor)
        return self._operands[node.name]

    def orders(self, node: fx.Node, count: int) -> tuple[tuple[Operand, ...], ...]:
        """The orders in which a pattern may write the operands of a function call; none for another number.

        They are all operands, those that are no parameters, or those that are no numbers either.
        """
        key = (node.name, count)
        if key not in self._orders:
            values = self.operands(node)
            flowing = tuple(v for v in values if not isinstance(v, fx.Node) or v.op != "get_attr")
            tensors = tuple(v for v in flowing if isinstance(v, fx.Node))
            fitting = next((found for found in (values, flowing, tensors) if len(found) == count), None)
            if fitting is None:
                self._orders[key] = ()
            elif function_name(node) in COMMUTATIVE and "alpha" not in node.kwargs:
                self._orders[key] = tuple(dict.fromkeys(permutations(fitting)))
            else:
                self._orders[key] = (fitting,)
        return self._orders[key]

    def is_tensor(self, node: fx.Node) -> bool:
        """Whether a node is a tensor, or a structure of tensors: no size, no device."""
        return node.name in self.tensors

    def is_value(self, node: fx.Node) -> bool:
        """Whether a node is one tensor that flows: no parameter or buffer."""
        return node.op not in _NO_VALUES and node.name in self.trace.values

    def kind(self, node: fx.Node) -> str:
        """What a node is, in words: `Conv2d`, `add`, `an input of the model`."""
        calls = self.calls.get(node.name)
        if calls:
            return calls[-1].module_class.__name__
        words = {"placeholder": "an input of the model", "get_attr": "a parameter"}
        return function_name(node) or words.get(node.op, node.op)

    def inputs(self, call: ModuleCall) -> tuple[fx.Node, ...]:
        """The tensors that a module call takes."""
        key = id(call)
        if key not in self._inputs:
            self._inputs[key] = tuple(self.trace.node(name) for name in call.inputs)
        return self._inputs[key]

    def attributes(self, path: str) -> Mapping[str, object]:
        """The plain attributes of a module."""
        if path not in self._attributes:
            self._attributes[path] = attributes_of(self.model.get_submodule(path))
        return self._attributes[path]

    def covered(self, call: ModuleCall) -> frozenset[str]:
        """The nodes that a module call is: those between its inputs and its output, which is among them."""
        key = id(call)
        if key not in self._covered:
            self._covered[key] = frozenset() if call.node is None else self._between(call.inputs, call.node)
        return self._covered[key]

    def _between(self, inputs: Sequence[str], output: str) -> frozenset[str]:
        below = self._descendants(inputs, self.position[output])
        found: set[str] = set()
        pending = [output]
        while pending:
            name = pending.pop()
            if name in found or name in inputs or (name != output and name not in below):
                continue
            found.add(name)
            pending += (node.name for node in self.trace.node(name).all_input_nodes)
        return frozenset(found)

    def _descendants(self, names: Collection[str], until: int) -> frozenset[str]:
        found: set[str] = set()
        pending = [*names]
        while pending:
            for user in self.trace.node(pending.pop()).users:
                if user.name not in found and self.position[user.name] <= until:
                    found.add(user.name)
                    pending.append(user.name)
        return frozenset(found)


def tensor_nodes(trace: Trace) -> frozenset[str]:
    """The nodes that are a tensor, or a structure from which another node takes one."""
    structures: set[str] = set()
    for node in reversed([*trace.nodes.values()]):
        if node.name in trace.values or node.name in structures:
            source = node.args[0] if node.args and function_name(node) in _TAKING else None
            if isinstance(source, fx.Node):
                structures.add(source.name)
    return frozenset(trace.values) | structures


def make_index(trace: Trace, model: nn.Module) -> Index:
    """The index of a trace.

    Args:
        trace: of the model.
        model: on any device; only names, classes and attributes are read.
    """
    tensors = tensor_nodes(trace)
    called: defaultdict[str, list[str]] = defaultdict(list)
    functions: defaultdict[str, list[fx.Node]] = defaultdict(list)
    for node in trace.nodes.values():
        name = function_name(node)
        if name is not None:
            called[node.name].append(name)
            if node.name in tensors:
                functions[name].append(node)
    calls: defaultdict[str, list[ModuleCall]] = defaultdict(list)
    for call in trace.calls:
        if call.path and call.node is not None and call.node not in call.inputs:
            calls[call.node].append(call)
    classes: defaultdict[str, list[fx.Node]] = defaultdict(list)
    for name, node in trace.nodes.items():
        known = dict.fromkeys(c for call in calls.get(name, ()) for c in class_names(call.module_class))
        called[name] += known
        for class_name in known:
            classes[class_name].append(node)
    return Index(
        trace=trace,
        model=model,
        position={name: position for position, name in enumerate(trace.nodes)},
        functions={name: tuple(nodes) for name, nodes in functions.items()},
        called={name: frozenset(called[name]) for name in trace.nodes},
        tensors=tensors,
        classes={name: tuple(nodes) for name, nodes in classes.items()},
        calls={name: tuple(found) for name, found in calls.items()},
    )
