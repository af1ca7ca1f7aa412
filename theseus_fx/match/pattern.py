"""One module against one pattern: does it match, and if not, at which step did it stop?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from torch import nn

from theseus_fx.lang import syntax
from theseus_fx.lang.check_values import shown
from theseus_fx.lang.diagnostics import near_names
from theseus_fx.lang.evaluate import equal
from theseus_fx.lang.spec import ModulePattern, Value
from theseus_fx.match.globs import fits_any


class Selection(Protocol):
    """What chooses modules: a rule, or one side of a pair."""

    @property
    def module(self) -> ModulePattern: ...
    @property
    def within(self) -> tuple[syntax.Glob, ...]: ...
    @property
    def keep(self) -> tuple[syntax.Glob, ...]: ...


@dataclass(frozen=True, slots=True)
class Miss:
    """Why a module does not match a rule; a higher `step` came nearer."""

    path: str
    step: int
    reason: str
    """One for all modules that miss alike, so that they can be counted."""


@cache
def class_names(module_class: type[nn.Module]) -> tuple[str, ...]:
    """The names a pattern may use for the class: its own and those of its bases, nearest first."""
    return tuple(c.__name__ for c in module_class.__mro__ if c not in (nn.Module, object))


def attributes_of(module: nn.Module) -> dict[str, object]:
    """The plain attributes of a module: numbers, words, tuples of these; a parameter counts as true.

    These are what a pattern, a `where` and a replacement can refer to: `c.kernel_size`, `c.bias`.
    """
    values: dict[str, object] = {
        name: value for name, value in vars(module).items() if not name.startswith("_") and _is_plain(value)
    }
    for name, parameter in module._parameters.items():  # pyright: ignore[reportPrivateUsage]
        values[name] = parameter is not None
    return values


def miss(rule: Selection, path: str, module: nn.Module) -> Miss | None:
    """Why the module is no candidate for the rule, or None if it is one; `where` is judged later."""
    pattern = rule.module
    if pattern.class_name not in class_names(type(module)):
        return Miss(path, 0, f"is a {type(module).__name__}, not a {pattern.class_name}")
    if reason := attribute_miss(pattern.attributes, attributes_of(module)):
        return Miss(path, 1, reason)
    if rule.within and not fits_any(path, rule.within):
        wanted = " or ".join(f'"{g.pattern}"' for g in rule.within)
        return Miss(path, 2, f"is not in {wanted}")
    if fits_any(path, rule.keep):
        kept = " or ".join(f'"{g.pattern}"' for g in rule.keep)
        return Miss(path, 3, f"is kept by {kept}")
    return None


def attribute_miss(wanted_attributes: Mapping[str, Value], attributes: Mapping[str, object]) -> str | None:
    for name, wanted in wanted_attributes.items():
        if name not in attributes:
            near = near_names(name, attributes, most=1)
            return f"has no attribute `{name}`" + (f", but `{near[0]}`" if near else "")
        if not equal(attributes[name], wanted):
            return f"has {name} = {shown(attributes[name])}, not {shown(wanted)}"
    return None


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(v) for v in value)
    return value is None or isinstance(value, bool | int | float | str)
