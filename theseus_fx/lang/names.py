"""Which names an expression reads, calls or is."""

from __future__ import annotations

from theseus_fx.lang import syntax
from theseus_fx.lang.words import AUTO


def names_in(expression: syntax.Expression) -> set[str]:
    """Every name that an expression reads."""
    match expression:
        case syntax.Name(text=text):
            return {text}
        case syntax.ListOf(items=items):
            return set[str]().union(*(names_in(item) for item in items))
        case syntax.Chain(steps=steps):
            return set[str]().union(*(names_in(step) for step in steps))
        case syntax.Attribute(value=value):
            return names_in(value)
        case syntax.Index(value=value, index=index):
            return names_in(value) | names_in(index)
        case syntax.Unary(operand=operand):
            return names_in(operand)
        case syntax.Binary(left=left, right=right):
            return names_in(left) | names_in(right)
        case syntax.Call(function=function, arguments=arguments):
            return names_in(function).union(*(names_in(a.value) for a in arguments))
        case syntax.Number() | syntax.Quantity() | syntax.Text():
            return set()


def names_of(node: syntax.Statement | syntax.Block) -> set[str]:
    """Every name that the expressions of a statement read; the body of a `module` has names of its own."""
    match node:
        case syntax.Param(value=value) | syntax.Setting(value=value):
            return names_in(value)
        case syntax.Guide(model=model, trained_by=block):
            return names_in(model) | (set() if block is None else names_of(block))
        case syntax.Input(shape=shape):
            return set[str]().union(*(names_in(size) for size in shape))
        case syntax.Block(settings=settings):
            return set[str]().union(*(names_of(setting) for setting in settings))
        case syntax.Rule():
            patterns = [pattern.value for pattern in node.matches]
            weights = [setting.value for align in node.aligns for setting in align.settings]
            values = (*patterns, *node.where, *node.replacements, *weights)
            return set[str]().union(*map(names_in, values))
        case syntax.PatternDefinition(bindings=bindings, results=results):
            own = {word.text for word in (*node.parameters, *(b.name for b in bindings))}
            values = [*(b.value for b in bindings), *results]
            return set[str]().union(*(names_in(value) for value in values)) - own
        case syntax.Schedule(settings=settings, stages=stages):
            gates = [*node.requires, *(gate for stage in stages for gate in stage.requires)]
            blocks = [*(names_of(s) for s in settings), *(names_of(s.block) for s in stages)]
            return set[str]().union(*blocks, *(_names_of_gate(gate) for gate in gates))
        case syntax.Recalibrate(block=block) | syntax.Finetune(block=block):
            return names_of(block)
        case syntax.Compare(block=block):
            return set() if block is None else names_of(block)
        case syntax.Target(model=model):
            return names_in(model)
        case syntax.Pair(guides=guides, targets=targets):
            return set[str]().union(*map(_names_of_side, (*guides, *targets)))
        case syntax.Use() | syntax.ModuleDefinition():
            return set()


def _names_of_side(side: syntax.Side) -> set[str]:
    ends = [windows.ends for windows in side.windows if isinstance(windows, syntax.At)]
    values = [setting.value for setting in side.settings]
    return set[str]().union(*map(names_in, (side.pattern.value, *ends, *values)))


def _names_of_gate(gate: syntax.Require) -> set[str]:
    return names_in(gate.condition) | (set() if gate.otherwise is None else names_in(gate.otherwise))


def steps_called(expression: syntax.Expression) -> set[str]:
    """The modules and functions that a replacement calls, at any depth."""
    match expression:
        case syntax.Name(text=text):
            return {text}
        case syntax.Call(function=function, arguments=arguments):
            inside = (steps_called(a.value) for a in arguments)
            return {dotted(function)}.union(*inside)
        case syntax.Chain(steps=parts) | syntax.ListOf(items=parts):
            return set[str]().union(*map(steps_called, parts))
        case syntax.Binary(left=left, right=right):
            return steps_called(left) | steps_called(right)
        case syntax.Unary(operand=value) | syntax.Index(value=value):
            return steps_called(value)
        case _:
            return set()


def is_auto(expression: syntax.Expression) -> bool:
    """Whether an expression is `auto(...)`, which is a constant and no step."""
    return isinstance(expression, syntax.Call) and dotted(expression.function) == AUTO


def is_class_name(text: str) -> bool:
    """Whether a word is written like a class, `LayerNorm`, and not like a function or a value."""
    return text[:1].isupper()


def dotted(expression: syntax.Expression) -> str:
    """The dotted name that an expression is, or its text on one line where it is none."""
    match expression:
        case syntax.Name(text=text):
            return text
        case syntax.Attribute(value=value, name=name):
            return f"{dotted(value)}.{name}"
        case _:
            return shortened(expression.span.text)


def shortened(text: str) -> str:
    """A text on one line and no longer than a message can bear: of a long one, the middle is left out."""
    line = " ".join(text.split())
    return line if len(line) <= 120 else f"{line[:40]}...{line[-77:]}"
