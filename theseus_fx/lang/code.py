"""`python("models.py").MyNet`: names of a person's own Python file. Here they are read as text, never run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from theseus_fx.lang import syntax
from theseus_fx.lang.source import Source

PYTHON = "python"
"""The word that stands in front of the path."""


@dataclass(frozen=True, slots=True)
class Code:
    """A name of a Python file, and the text of the file as it was when the spec was read."""

    source: Source
    name: str

    def __str__(self) -> str:
        return f'{PYTHON}("{self.source.name}").{self.name}'


def code_reference(expression: syntax.Expression) -> tuple[syntax.Text, str] | None:
    """The path and the name of `python("models.py").MyNet`, or None for any other expression."""
    match expression:
        case syntax.Attribute(
            value=syntax.Call(
                function=syntax.Name(text="python"),
                arguments=(syntax.Argument(name=None, value=syntax.Text() as path),),
            ),
            name=name,
        ):
            return path, name
        case _:
            return None


def code_paths(document: syntax.Document) -> Iterator[syntax.Text]:
    """The paths of all Python files that a document names, in order, each as often as it is named."""
    for node in document.statements:
        match node:
            case (
                syntax.Guide(model=syntax.Call(function=expression))
                | syntax.Target(model=syntax.Call(function=expression))
            ):
                pass
            case syntax.ModuleDefinition(body=expression):
                pass
            case syntax.Setting(name=syntax.Word(text="task"), value=value):
                expression = value.function if isinstance(value, syntax.Call) else value
            case _:
                continue
        found = code_reference(expression)
        if found is not None:
            yield found[0]
