"""What a call takes: the arguments of data sources, tasks and models, with their kinds and defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from theseus_fx.lang.spec import Value

Kind = Literal[
    "int",
    "share",
    "bool",
    "path",
    "text",
    "optional int",
    "optional path",
    "optional text",
    "numbers",
    "augment",
    "any",
]
"""`numbers`: a number, a list of numbers, or none. `augment`: a list of transforms, or none."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a data source, a task or a model."""

    name: str
    kind: Kind
    default: Value = None
    required: bool = False
    choices: tuple[str, ...] = ()
    """Of a text: what it can be; empty where anything goes."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a call takes, in order."""

    arguments: tuple[Argument, ...]

    def names(self) -> tuple[str, ...]:
        return tuple(argument.name for argument in self.arguments)
