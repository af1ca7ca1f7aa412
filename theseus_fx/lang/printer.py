"""A syntax tree as text in canonical form. Parsing it again gives the same tree."""

from __future__ import annotations

from collections.abc import Iterable

from theseus_fx.lang import syntax
from theseus_fx.lang.code import code_reference

_BINDING = {
    "or": 1, "and": 2,
    "==": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4,
    "+": 5, "-": 5,
    "*": 6, "/": 6, "//": 6, "%": 6,
}  # fmt: skip
_CHAIN, _NOT, _MINUS, _POSTFIX = 0, 3, 7, 8


def print_document(document: syntax.Document) -> str:
    """The text of a document; comments are kept only above modules and patterns."""
    lines = [] if document.version is None else [f"theseus {document.version.number}"]
    previous: type[object] | None = syntax.Version
    for node in document.statements:
        short = isinstance(node, syntax.Setting | syntax.Param | syntax.Use | syntax.Input)
        if not short or type(node) is not previous:
            lines.append("")
        lines += _statement(node)
        previous = type(node)
    return "\n".join(lines).lstrip("\n") + "\n"


def print_expression(expression: syntax.Expression) -> str:
    """The text of an expression, with the parentheses that it needs and no others."""
    return _expression(expression, _CHAIN)


def _statement(node: syntax.Statement) -> list[str]:
    match node:
        case syntax.Use(path=path):
            return [f"use {_quoted(path.value)}"]
        case syntax.Param(name=name, value=value):
            return [f"param {name.text} = {print_expression(value)}"]
        case syntax.Setting(name=name, value=value):
            return [f"{name.text} = {print_expression(value)}"]
        case syntax.Guide(name=name, model=model, trained_by=block):
            head = f"guide {name.text} = {print_expression(model)}"
            return [head] if block is None else _block(f"{head} trained by", block.settings)
        case syntax.Input(name=name, dtype=dtype, shape=shape):
            return [f"input {name.text}: {dtype.text}[{', '.join(map(print_expression, shape))}]"]
        case syntax.ModuleDefinition() | syntax.PatternDefinition():
            comment = [f"# {line}".rstrip() for line in node.doc.split("\n")] if node.doc else []
            return [*comment, *print_definition(node)]
        case syntax.Rule():
            return [f"rule {node.name.text} {{", *(f"  {line}" for line in _clauses(node)), "}"]
        case syntax.Schedule(kind=kind, settings=settings, stages=stages):
            inside = [f"  {_setting(s)}" for s in settings]
            inside += [f"  group by {', '.join(_quoted(g.pattern) for g in s.patterns)}" for s in node.groups]
            inside += [f"  {_require(r)}" for r in node.requires]
            inside += [f"  stage {_range(s)} {{ {'  '.join(_within_stage(s))} }}" for s in stages]
            return [f"schedule {kind.text} {{", *inside, "}"]
        case syntax.Recalibrate(module_class=name, block=block):
            return [f"recalibrate {name.text} {{ {'  '.join(map(_setting, block.settings))} }}"]
        case syntax.Finetune(block=block):
            return _block("finetune", block.settings)
        case syntax.Compare(methods=methods, block=block):
            head = f"compare {', '.join(m.text for m in methods)}"
            return [head if block is None else f"{head} {{ {'  '.join(map(_setting, block.settings))} }}"]
        case syntax.Target(name=name, model=model):
            return [f"target {name.text} = {print_expression(model)}"]
        case syntax.Pair(name=name, guides=guides, targets=targets, expect=expect):
            sides = [*(f"guide {_side(s)}" for s in guides), *(f"target {_side(s)}" for s in targets)]
            sides += [f"expect {number.value}" for number in expect]
            return [f"pair {name.text} {{", *(f"  {line}" for line in sides), "}"]


def print_definition(node: syntax.Definition) -> list[str]:
    """The lines of a `module` or `pattern` sentence without its comment."""
    return _module(node) if isinstance(node, syntax.ModuleDefinition) else _pattern(node)


def _pattern(node: syntax.PatternDefinition) -> list[str]:
    values = [f"  {_setting(value)}" for value in node.bindings]
    results = [f"  return {print_expression(result)}" for result in node.results]
    return [f"pattern {node.signature} {{", *values, *results, "}"]


def _module(node: syntax.ModuleDefinition) -> list[str]:
    if code_reference(node.body) is not None:
        return [f"module {node.name.text} = {print_expression(node.body)}"]
    head = f"module {node.name.text}({', '.join(map(_parameter, node.parameters))})"
    if not node.values:
        return [f"{head} =", f"  {print_expression(node.body)}"]
    values = [f"  {_setting(value)}" for value in node.values]
    return [f"{head} {{", *values, f"  return {print_expression(node.body)}", "}"]


def _parameter(parameter: syntax.Parameter) -> str:
    name, default = parameter.name.text, parameter.default
    return name if default is None else f"{name} = {print_expression(default)}"


def _block(head: str, settings: Iterable[syntax.Setting]) -> list[str]:
    return [f"{head} {{", *(f"  {_setting(s)}" for s in settings), "}"]


def _setting(setting: syntax.Setting) -> str:
    return f"{setting.name.text} = {print_expression(setting.value)}"


def _within_stage(stage: syntax.Stage) -> list[str]:
    return [*map(_setting, stage.block.settings), *map(_require, stage.requires)]


def _require(gate: syntax.Require) -> str:
    otherwise = "" if gate.otherwise is None else f" else {print_expression(gate.otherwise)}"
    keeps = "" if gate.keeps is None else " else keep guide"
    return f"require {print_expression(gate.condition)}{otherwise}{keeps}"


def _range(stage: syntax.Stage) -> str:
    return str(stage.first.value) if stage.last is None else f"{stage.first.value}..{stage.last.value}"


def _clauses(rule: syntax.Rule) -> list[str]:
    lines = [
        f"match {print_expression(p.value)}" + ("" if p.binding is None else f" as {p.binding.text}")
        for p in rule.matches
    ]
    if rule.within:
        lines.append(f"in {', '.join(_quoted(g.pattern) for g in rule.within)}")
    lines += [f"where {print_expression(condition)}" for condition in rule.where]
    lines += [f"expect {number.value}" for number in rule.expect]
    if rule.keep:
        lines.append(f"keep {', '.join(_quoted(g.pattern) for g in rule.keep)}")
    lines += [f"replace with {print_expression(r)}" for r in rule.replacements]
    return lines + [_align(align) for align in rule.aligns]


def _align(align: syntax.Align) -> str:
    value = f"align {_expression(align.value, _POSTFIX)}"
    named = value if align.target is None else f"{value} ~ {align.target.text}"
    return "  ".join([named, *map(_setting, align.settings)])


def _side(side: syntax.Side) -> str:
    pieces = [_expression(side.pattern.value, _POSTFIX), *(f"in {word.text}" for word in side.network)]
    for word, globs in (("within", side.within), ("keep", side.keep)):
        if globs:
            pieces.append(f"{word} {', '.join(_quoted(g.pattern) for g in globs)}")
    pieces += [_windows(windows) for windows in side.windows]
    return " ".join([*pieces, *map(_setting, side.settings)])


def _windows(windows: syntax.Windows) -> str:
    match windows:
        case syntax.Every(count=count):
            return f"every {count.value}"
        case syntax.By(pattern=pattern, split=split):
            return f"{'split ' if split else ''}by {_quoted(pattern.value)}"
        case syntax.At(ends=ends):
            return f"at {print_expression(ends)}"


def _expression(expression: syntax.Expression, around: int) -> str:
    """The text of an expression inside one that binds as tightly as `around`."""
    match expression:
        case syntax.Name(text=text):
            return text
        case syntax.Number(value=value):
            return _number(value)
        case syntax.Quantity(value=value, unit=unit):
            return f"{_number(value)} {unit}"
        case syntax.Text(value=value):
            return _quoted(value)
        case syntax.ListOf(items=items):
            return f"[{', '.join(map(print_expression, items))}]"
        case syntax.Attribute(value=value, name=name):
            return f"{_expression(value, _POSTFIX)}.{name}"
        case syntax.Index(value=value, index=index):
            return f"{_expression(value, _POSTFIX)}[{print_expression(index)}]"
        case syntax.Call(function=function, arguments=arguments):
            return f"{_expression(function, _POSTFIX)}({', '.join(map(_argument, arguments))})"
        case syntax.Unary(operator=operator, operand=operand):
            own = _NOT if operator == "not" else _MINUS
            space = " " if operator == "not" else ""
            return _wrapped(f"{operator}{space}{_expression(operand, own)}", own, around)
        case syntax.Binary(operator=operator, left=left, right=right):
            own = _BINDING[operator]
            first = _expression(left, own + 1 if own == _BINDING["=="] else own)
            return _wrapped(f"{first} {operator} {_expression(right, own + 1)}", own, around)
        case syntax.Chain(steps=steps):
            return _wrapped(" |> ".join(_expression(s, _CHAIN + 1) for s in steps), _CHAIN, around)


def _argument(argument: syntax.Argument) -> str:
    value = print_expression(argument.value)
    return value if argument.name is None else f"{argument.name} = {value}"


def _wrapped(text: str, own: int, around: int) -> str:
    return f"({text})" if own < around else text


def _number(value: float) -> str:
    return repr(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
