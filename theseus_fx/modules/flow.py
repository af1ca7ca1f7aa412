"""Data flow through a replacement expression: each step is added to the recipe and run on the meta device."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor

from theseus_fx.lang import syntax
from theseus_fx.lang.check_flow import holds_steps
from theseus_fx.lang.code import Code, code_reference
from theseus_fx.lang.diagnostics import Rejected, first_line
from theseus_fx.lang.evaluate import evaluate
from theseus_fx.lang.names import names_in
from theseus_fx.lang.source import Source, Span
from theseus_fx.lang.spec import AutoRank
from theseus_fx.lang.words import IT, NAMESPACE
from theseus_fx.modules.arguments import Written, bind
from theseus_fx.modules.recipe import Step, Wire

PROBE_BATCH = 4099
"""A size that nothing else has, so that no step can take the batch for something else unnoticed."""

_CHOOSING = frozenset({"softmax", "log_softmax", "Softmax", "LogSoftmax", "Softmin"})
"""Steps that choose a dimension by themselves where none is given."""

_ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "/": "div"}

Definitions = Mapping[str, syntax.ModuleDefinition]
Refusal = Callable[[Span, str, str], Rejected]
"""A diagnostic about a place: span, message, label."""


@dataclass(frozen=True, slots=True, eq=False)
class Flow(Mapping[str, object]):
    """A value inside a replacement: where it comes from, what it looks like, and its sizes as attributes."""

    wire: Wire
    value: object
    """A tensor on the meta device at batch size `PROBE_BATCH`, or a structure of them."""

    def __getitem__(self, key: str) -> object:
        return self._sizes()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sizes())

    def __len__(self) -> int:
        return len(self._sizes())

    def _sizes(self) -> dict[str, object]:
        if not isinstance(self.value, Tensor):
            return {}
        shape = symbolic(self.value)
        sizes: dict[str, object] = {"shape": shape, "rank": len(shape)}
        if self.value.dim() > 0 and shape[0] == "batch":
            sizes["features"] = self.value[0].numel()
        if len(shape) > 1:
            sizes["channels"] = shape[1]
        return sizes


def symbolic(x: Tensor) -> tuple[int | str, ...]:
    """The shape with the word `batch` where the batch is."""
    return tuple("batch" if size == PROBE_BATCH else size for size in x.shape)


Known = dict[tuple[object, ...], object]
"""What steps return on the meta device, by the step and what flows into it."""


@dataclass(slots=True)
class FlowBuilder:
    """Adds the steps of one replacement, in the order in which they are computed."""

    definitions: Definitions
    dtype: torch.dtype
    """Of parameters."""
    refuse: Refusal
    code: Mapping[str, Source] = field(default_factory=dict[str, Source])
    """The Python files of the spec, by their path as written."""
    known: Known = field(default_factory=dict[tuple[object, ...], object])
    rank: int = 1
    """What `auto(...)` stands for while the sizes are computed."""
    budgets: set[AutoRank] = field(default_factory=set[AutoRank])
    """The `auto(...)` that a step has been given."""
    steps: list[Step] = field(default_factory=list[Step])
    named: dict[str, tuple[Flow, Span]] = field(default_factory=dict[str, tuple["Flow", Span]])
    """The named values of the modules that the replacement itself calls, with the places of their steps."""
    _inside: int = 0
    """How many named modules are around what is being added."""

    def flow(self, expression: syntax.Expression, it: Flow, names: Mapping[str, object]) -> Flow:
        """The value of an expression into which `it` flows."""
        match expression:
            case syntax.Chain(steps=steps):
                for step in steps:
                    it = self.flow(step, it, names)
                return it
            case syntax.Call():
                return self._call(expression, it, names)
            case syntax.Name(text=text, span=span):
                if text == IT:
                    return it
                value = names.get(text)
                if isinstance(value, Flow):
                    return value
                if text in names:
                    raise self._no_step(expression, names)
                return self._named(text, (), it, names, span)
            case syntax.Index(value=owner) if self._flows(owner, names):
                return self._item(expression, it, names)
            case syntax.Binary(operator=operator) if operator in _ARITHMETIC:
                return self._binary(expression, it, names)
            case syntax.Unary(operator="-", operand=operand):
                inner = self.flow(operand, it, names)
                return self._step(Written("neg", (), {}, {}, expression.span), [(inner, operand.span)])
            case syntax.Attribute(value=syntax.Name(text=owner), name=name, span=span) if owner == NAMESPACE:
                return self._step(Written(name, (), {}, {}, span), [(it, span)])
            case _:
                value = evaluate(expression, names)
                if isinstance(value, Flow):
                    return value
                raise self._no_step(expression, names)

    def tensor(self, flow: Flow, span: Span) -> Tensor:
        """The one tensor that a value is; `span` is where it is made."""
        if isinstance(flow.value, Tensor):
            return flow.value
        count = len(cast("Sequence[object]", flow.value))
        raise self.refuse(
            span, f"this is a tuple of {count}, not one tensor", "take it apart, such as `RNN(64)[0]`"
        )

    def _flows(self, expression: syntax.Expression, names: Mapping[str, object]) -> bool:
        """Whether an expression is a value that flows, not a constant."""
        if holds_steps(expression, {*names, IT}):
            return True
        match expression:
            case syntax.Name(text=text):
                return text == IT or isinstance(names.get(text), Flow)
            case syntax.Attribute(value=owner):
                if self._flows(owner, names) or not names_in(owner) <= names.keys():
                    return False  # a size of a value, or a mistake for `evaluate`
                return isinstance(evaluate(expression, names), Flow)
            case syntax.Binary(operator=operator, left=left, right=right):
                return operator in _ARITHMETIC and (self._flows(left, names) or self._flows(right, names))
            case syntax.Unary(operator=operator, operand=operand):
                return operator == "-" and self._flows(operand, names)
            case syntax.Index(value=owner):
                return self._flows(owner, names)
            case _:
                return False

    def _call(self, call: syntax.Call, it: Flow, names: Mapping[str, object]) -> Flow:
        match call.function:
            case syntax.Name(text=text):
                return self._named(text, call.arguments, it, names, call.span)
            case syntax.Attribute(value=syntax.Name(text=owner), name=name) if owner == NAMESPACE:
                return self._library(name, call.arguments, it, names, call.span)
            case other:
                raise self.refuse(other.span, "this is no module or function", "")

    def _named(
        self,
        name: str,
        arguments: Sequence[syntax.Argument],
        it: Flow,
        names: Mapping[str, object],
        span: Span,
    ) -> Flow:
        definition = self.definitions.get(name)
        if definition is None:
            return self._library(name, arguments, it, names, span)
        reference = code_reference(definition.body)
        if reference is not None:
            path, own_name = reference
            code = Code(self.code[path.value], own_name)
            return self._library(name, arguments, it, names, span, code)
        parameters = [parameter.name.text for parameter in definition.parameters]
        positional = [self._argument(a.value, it, names) for a in arguments if a.name is None]
        inner: dict[str, object] = dict(zip(parameters, positional, strict=False))
        inner |= {a.name: evaluate(a.value, _with(names, it)) for a in arguments if a.name is not None}
        for parameter in definition.parameters:
            if parameter.name.text not in inner and parameter.default is not None:
                inner[parameter.name.text] = evaluate(parameter.default, inner)
        self._inside += 1
        for value in definition.values:
            inner[value.name.text] = flowing = self.flow(value.value, it, inner)
            if self._inside == 1:
                self.named[value.name.text] = flowing, value.value.span
        result = self.flow(definition.body, it, inner)
        self._inside -= 1
        return result

    def _argument(self, expression: syntax.Expression, it: Flow, names: Mapping[str, object]) -> object:
        if self._flows(expression, names):
            return self.flow(expression, it, names)
        return evaluate(expression, _with(names, it))

    def _library(
        self,
        name: str,
        arguments: Sequence[syntax.Argument],
        it: Flow,
        names: Mapping[str, object],
        span: Span,
        code: Code | None = None,
    ) -> Flow:
        flows: list[tuple[Flow, Span]] = []
        constants: list[object] = []
        for argument in arguments:
            if argument.name is not None:
                continue
            value = self._argument(argument.value, it, names)
            if not isinstance(value, Flow):
                constants.append(value)
            elif constants:
                raise self.refuse(argument.span, "values that flow in come before settings", "")
            else:
                flows.append((value, argument.value.span))
        keywords = {a.name: evaluate(a.value, _with(names, it)) for a in arguments if a.name is not None}
        places = {a.name: a.name_span or a.span for a in arguments if a.name is not None}
        return self._step(
            Written(name, tuple(constants), keywords, places, span, code), flows or [(it, span)]
        )

    def _item(self, expression: syntax.Index, it: Flow, names: Mapping[str, object]) -> Flow:
        owner = self.flow(expression.value, it, names)
        index = evaluate(expression.index, _with(names, it))
        if isinstance(owner.value, Tensor):
            fix = "one tensor has no entries: `select(dim = 1, index = 0)` takes one along a dimension"
            raise self.refuse(expression.span, "this takes a tuple apart, but the value is one tensor", fix)
        values = cast("Sequence[object]", owner.value)
        if not isinstance(index, int) or isinstance(index, bool) or not -len(values) <= index < len(values):
            raise self.refuse(
                expression.index.span, f"entries of this tuple are counted from 0 to {len(values) - 1}", ""
            )
        step = Step(kind="item", arguments={"index": index % len(values)}, inputs=(owner.wire,))
        self.steps.append(step)
        return Flow(len(self.steps) - 1, values[index])

    def _binary(self, expression: syntax.Binary, it: Flow, names: Mapping[str, object]) -> Flow:
        sides = {"left": expression.left, "right": expression.right}
        values = {side: self._argument(part, it, names) for side, part in sides.items()}
        flows = [(v, sides[side].span) for side, v in values.items() if isinstance(v, Flow)]
        constants = {side: value for side, value in values.items() if not isinstance(value, Flow)}
        if not flows:
            raise self._no_step(expression, names)
        for side, value in constants.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise self.refuse(sides[side].span, "arithmetic takes values that flow, and numbers", "")
        kind = _ARITHMETIC[expression.operator]
        return self._step(Written(kind, (), constants, {}, expression.span), flows)

    def _no_step(self, expression: syntax.Expression, names: Mapping[str, object]) -> Rejected:
        part = isinstance(expression, syntax.Name) and isinstance(names.get(expression.text), Mapping)
        label = f"the value that flows into the part is `{expression.span.text}.in`" if part else ""
        return self.refuse(expression.span, "no value flows here", label or "this is a constant")

    def _step(self, written: Written, flows: Sequence[tuple[Flow, Span]]) -> Flow:
        """Adds a step; each value that flows in comes with its place."""
        written = self._ranked(written)
        tensors = [self.tensor(flow, span) for flow, span in flows]
        arguments = bind(written, tensors[0], self.definitions)
        inputs = tuple(flow.wire for flow, _ in flows)
        step = Step(kind=written.kind, arguments=arguments, inputs=inputs, code=written.code)
        self._keeps_the_batch(written, step, tensors[0])
        geometry = tuple((x.shape, x.stride(), x.dtype) for x in tensors)
        key = (step.kind, repr(dict(step.arguments)), step.code, self.dtype, geometry)
        if key not in self.known:
            self.known[key] = self._output(step, written, tensors)
        value = self.known[key]
        self.steps.append(step)
        return Flow(len(self.steps) - 1, value)

    def _ranked(self, written: Written) -> Written:
        """The step with a number for each rank that a run chooses."""
        given = (*written.positional, *written.keywords.values())
        self.budgets |= {value for value in given if isinstance(value, AutoRank)}
        keywords = {n: self.rank if isinstance(v, AutoRank) else v for n, v in written.keywords.items()}
        positional = tuple(self.rank if isinstance(v, AutoRank) else v for v in written.positional)
        return replace(written, positional=positional, keywords=keywords)

    def _keeps_the_batch(self, written: Written, step: Step, x: Tensor) -> None:
        """Refuses a step that would mix samples."""
        if step.kind in _CHOOSING and step.arguments.get("dim") is None:
            label = "of a value with three dimensions, torch would take the batch"
            raise self.refuse(written.span, f"`{written.kind}` needs its `dim`, such as `dim = -1`", label)
        for name in ("dim", "dim0", "dim1", "start_dim"):
            dims = step.arguments.get(name)
            for dim in dims if isinstance(dims, tuple) else (dims,):
                if isinstance(dim, int) and not isinstance(dim, bool) and dim in (0, -x.dim()):
                    message = f"`{written.kind}` would mix samples: dimension {dim} is the batch"
                    raise self.refuse(written.places.get(name, written.span), message, "")

    def _output(self, step: Step, written: Written, tensors: Sequence[Tensor]) -> object:
        """What comes out of a step, on the meta device."""
        try:
            with torch.device("meta"), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Initializing zero-element tensors")
                module = step.make().to(self.dtype).eval()
        except Exception as error:
            raise self.refuse(written.span, f"`{step}` cannot be made", first_line(error)) from error
        if any(p.numel() == 0 for p in module.parameters()):
            raise self.refuse(written.span, f"`{step}` has a parameter without elements", "")
        try:
            with torch.no_grad():
                value: object = module(*tensors)
        except Exception as error:
            flowing = "a value" if len(tensors) == 1 else "values"
            shapes = " and ".join(shown(symbolic(x)) for x in tensors)
            message = f"`{step.kind}` does not accept {flowing} of shape {shapes}"
            raise self.refuse(written.span, message, first_line(error)) from error
        if not _holds_tensors(value):
            raise self.refuse(written.span, f"`{step.kind}` returns a {type(value).__name__}, no tensor", "")
        return value


def shown(shape: Collection[int | str]) -> str:
    """A shape for a person: `(b, 64, 56, 56)`."""
    return f"({', '.join('b' if d == 'batch' else str(d) for d in shape)})"


def pruned(steps: Sequence[Step], wanted: Sequence[Wire]) -> tuple[tuple[Step, ...], tuple[Wire, ...]]:
    """The steps that the wanted values need, and those values, numbered anew."""
    needed: set[Wire] = set()
    pending = [*wanted]
    while pending:
        wire = pending.pop()
        if isinstance(wire, int) and wire not in needed:
            needed.add(wire)
            pending += steps[wire].inputs
    kept = [index for index in range(len(steps)) if index in needed]
    number: dict[Wire, Wire] = {old: new for new, old in enumerate(kept)}
    renumbered = tuple(
        replace(steps[index], inputs=tuple(number.get(wire, wire) for wire in steps[index].inputs))
        for index in kept
    )
    return renumbered, tuple(number.get(wire, wire) for wire in wanted)


def _with(names: Mapping[str, object], it: Flow) -> dict[str, object]:
    """The names of constants, and the sizes of the value that flows in."""
    return {**names, IT: it}


def _holds_tensors(value: object) -> bool:
    if isinstance(value, tuple | list):
        return any(_holds_tensors(inner) for inner in cast("Sequence[object]", value))
    return isinstance(value, Tensor)
