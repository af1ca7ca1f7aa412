"""Pieces of the language that stand by themselves on a command line: a model, an input."""

from __future__ import annotations

from pathlib import Path

from theseus_fx.lang import syntax
from theseus_fx.lang.check_model import check_guide, check_input
from theseus_fx.lang.code import code_reference
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.findings import Findings
from theseus_fx.lang.loader import read_named
from theseus_fx.lang.parser import parse, parse_value
from theseus_fx.lang.source import Source
from theseus_fx.lang.spec import Input, Invocation


def read_model(text: str, *, folder: Path | None = None) -> Invocation:
    """A model as a `guide` sentence names it; a name by itself is a call without arguments.

    Args:
        text: of the model.
        folder: where a Python file that it names lies; None: the working directory. The file is not run.

    Raises:
        Rejected: THX1xx, THX2xx or THX301, with the text as the place; THX001 for a file that is not there.
    """
    expression, problems = parse_value(Source("MODEL", text))
    if problems or expression is None:
        raise Rejected(*problems)
    if isinstance(expression, syntax.Name | syntax.Attribute):
        expression = syntax.Call(expression, (), expression.span)
    reference = code_reference(expression.function) if isinstance(expression, syntax.Call) else None
    code = {} if reference is None else {reference[0].value: read_named(reference[0], folder or Path.cwd())}
    found = Findings(code=code)
    name = syntax.Word("net", expression.span)
    guide = check_guide(found, syntax.Guide(name, expression, None, expression.span))
    if found.problems or guide is None:
        raise Rejected(*found.problems)
    return guide.model


def read_input(text: str) -> Input:
    """An input as an `input` sentence declares it, without the keyword: `image: f32[batch, 3, 224, 224]`.

    Raises:
        Rejected: THX1xx or THX2xx, with the sentence as the place.
    """
    document, problems = parse(Source("--input", f"input {text}"))
    if problems:
        raise Rejected(*problems)
    found = Findings()
    node, *more = document.statements
    for statement in more:
        found.note("THX206", "one input is declared at a time", statement.span, help=["repeat the option"])
    read = check_input(found, node) if isinstance(node, syntax.Input) else None
    if found.problems or read is None:
        raise Rejected(*found.problems)
    return read
