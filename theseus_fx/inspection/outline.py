"""The outline of a model: the tree of its module calls with the operations inside, as a rule can match them.

Its JSON is schema version 1; the human view is made from it. Shapes are lists of integers and of texts over
the batch size; FLOPs are forward FLOPs of one sample, a multiply-add counts as two.

    kind        "theseus-fx trace"
    schema      int; grows when a field changes its meaning or goes
    model       as asked for; class: of the model
    inputs      [{name, dtype, shape}]
    output      VALUE, the tensor that the model's output is about
    parameters  int, shared ones once
    flops       int
    tree        MODULE, the model itself, whose path is ""
    demoted     [{path, class, reason}], modules that are one operation because they cannot be recorded

    MODULE      kind: "module"; path: dotted, for `in` and `keep`; call: with `#2` where called again;
                class; classes: [text], every name that a pattern can use, nearest first;
                attributes: {name: value}, for patterns and `where`; leaf: whether it is one operation;
                demoted: text | null; inputs: [VALUE]; output: VALUE | null, where it is not one tensor;
                parameters: int; flops: int; left_out: int, operations inside that depth or filter hide;
                inside: [MODULE | OPERATION]
    OPERATION   kind: "function" | "method"; name: for a pattern; node; inputs: [node]; output: VALUE | null;
                flops: int
    VALUE       node; shape; dtype
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from theseus_fx.graph.cost import forward_flops
from theseus_fx.graph.trace import ModuleCall, Trace, trace
from theseus_fx.graph.values import InputSpec, ValueInfo
from theseus_fx.inspection.calls import Calls, operation_name
from theseus_fx.inspection.subject import Subject
from theseus_fx.match.pattern import attributes_of, class_names

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A tensor of the graph."""

    node: str
    info: ValueInfo

    def as_json(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "shape": list(self.info.shape),
            "dtype": str(self.info.dtype).removeprefix("torch."),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationLine:
    """A torch function or tensor method that a module calls."""

    name: str
    """As a pattern writes it: `add`, `scaled_dot_product_attention`."""
    kind: Literal["function", "method"]
    node: str
    inputs: tuple[str, ...]
    output: Value | None
    flops: int

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "name": self.name,
            "node": self.node,
            "inputs": list(self.inputs),
            "output": None if self.output is None else self.output.as_json(),
            "flops": self.flops,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleLine:
    """One call of one module, with what happens inside."""

    call: ModuleCall
    attributes: Mapping[str, object]
    inputs: tuple[Value, ...]
    output: Value | None
    parameters: int
    """Of the module and everything inside, shared ones once."""
    flops: int
    inside: tuple[ModuleLine | OperationLine, ...]
    """In execution order."""
    left_out: int = 0
    """Operations inside, leaf modules included, that are not shown."""

    def operations(self) -> int:
        """How many operations are inside, leaf modules included; itself, where it is a leaf."""
        if self.call.leaf:
            return 1
        inner = (1 if isinstance(line, OperationLine) else line.operations() for line in self.inside)
        return sum(inner) + self.left_out

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": "module",
            "path": self.call.path,
            "call": self.call.name,
            "class": self.call.module_class.__name__,
            "classes": list(class_names(self.call.module_class)),
            "attributes": {name: _plain(value) for name, value in self.attributes.items()},
            "leaf": self.call.leaf,
            "demoted": self.call.demoted,
            "inputs": [value.as_json() for value in self.inputs],
            "output": None if self.output is None else self.output.as_json(),
            "parameters": self.parameters,
            "flops": self.flops,
            "left_out": self.left_out,
            "inside": [line.as_json() for line in self.inside],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A traced model, to be read."""

    model: str
    inputs: tuple[InputSpec, ...]
    output: Value
    root: ModuleLine

    def as_json(self) -> dict[str, Any]:
        """The outline as plain JSON values (schema version `SCHEMA`)."""
        return {
            "kind": "theseus-fx trace",
            "schema": SCHEMA,
            "model": self.model,
            "class": self.root.call.module_class.__name__,
            "inputs": [
                {"name": i.name, "dtype": str(i.dtype).removeprefix("torch."), "shape": list(i.shape)}
                for i in self.inputs
            ],
            "output": self.output.as_json(),
            "parameters": self.root.parameters,
            "flops": self.root.flops,
            "tree": self.root.as_json(),
            "demoted": [
                {"path": call.path, "class": call.module_class.__name__, "reason": call.demoted}
                for call in _demoted(self.root)
            ],
        }


def outline(subject: Subject) -> Outline:
    """The outline of a model.

    Raises:
        Rejected: THX302 where it cannot be traced, THX304 where the inputs do not fit.
    """
    traced = trace(subject.model, subject.inputs)
    builder = _Builder(subject.model, traced)
    return Outline(
        model=subject.name,
        inputs=subject.inputs,
        output=Value(node=traced.output, info=traced.value(traced.output)),
        root=builder.module(0),
    )


class _Builder:
    """Puts the operations of a trace into the calls that they belong to."""

    def __init__(self, model: nn.Module, traced: Trace) -> None:
        self._model = model
        self._trace = traced
        self._flops = forward_flops(traced, model)
        self._place = {name: place for place, name in enumerate(traced.nodes)}
        self._calls = Calls(traced)

    def module(self, index: int) -> ModuleLine:
        call = self._trace.calls[index]
        return ModuleLine(
            call=call,
            attributes=attributes_of(self._model.get_submodule(call.path)),
            inputs=tuple(self._value(name) for name in call.inputs if name in self._trace.values),
            output=self._value(call.node) if call.node is not None else None,
            parameters=sum(p.numel() for p in self._model.get_submodule(call.path).parameters()),
            flops=sum(self._flops[name] for name in self._calls.nodes(index)),
            inside=() if call.leaf else tuple(self._inside(index)),
        )

    def _inside(self, index: int) -> Iterator[ModuleLine | OperationLine]:
        """Operations and calls in the order of the graph; a call that left no node stays behind its elder."""
        placed: list[tuple[int, int, ModuleLine | OperationLine]] = []
        last = -1
        for child in self._calls.children(index):
            last = min((self._place[name] for name in self._calls.nodes(child)), default=last)
            placed.append((last, child, self.module(child)))
        placed += [(self._place[name], 0, self._operation(name)) for name in self._calls.operations(index)]
        for _, _, line in sorted(placed, key=lambda entry: entry[:2]):
            yield line

    def _operation(self, name: str) -> OperationLine:
        node = self._trace.node(name)
        return OperationLine(
            name=operation_name(node),
            kind="method" if node.op == "call_method" else "function",
            node=name,
            inputs=tuple(source.name for source in node.all_input_nodes if self._is_shown(source.name)),
            output=self._value(name) if name in self._trace.values else None,
            flops=self._flops[name],
        )

    def _is_shown(self, name: str) -> bool:
        """Whether a node is a tensor or an operation, not a size or a device that the graph computes."""
        return name in self._trace.values or name in self._trace.owners

    def _value(self, name: str) -> Value:
        return Value(node=name, info=self._trace.value(name))


def _demoted(line: ModuleLine) -> Iterator[ModuleCall]:
    if line.call.demoted is not None:
        yield line.call
    for inner in line.inside:
        if isinstance(inner, ModuleLine):
            yield from _demoted(inner)


def _plain(value: object) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity
    return value
