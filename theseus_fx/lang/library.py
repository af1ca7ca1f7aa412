"""The standard library: what the files in `specs/std` define, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from theseus_fx.lang import syntax
from theseus_fx.lang.parser import parse
from theseus_fx.lang.shipped import specs_folder
from theseus_fx.lang.source import Source

Kind = Literal["module", "pattern"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One definition of the standard library."""

    file: str
    """As `use` names it: `std/low_rank.thx`."""
    definition: syntax.Definition

    @property
    def kind(self) -> Kind:
        """A `module` stands after `replace with`, a `pattern` after `match`."""
        return "module" if isinstance(self.definition, syntax.ModuleDefinition) else "pattern"


@lru_cache(maxsize=1)
def library() -> Mapping[str, tuple[Entry, ...]]:
    """Every definition of the standard library; a name that two files define has two entries."""
    entries: dict[str, tuple[Entry, ...]] = {}
    for path in sorted((specs_folder() / "std").glob("*.thx")):
        file = f"std/{path.name}"
        document, problems = parse(Source(file, path.read_text(encoding="utf-8"), path))
        if problems:
            raise AssertionError(f"{file} of the standard library does not parse: {problems[0].message}")
        for node in document.statements:
            if isinstance(node, syntax.Definition):
                entries[node.name.text] = (*entries.get(node.name.text, ()), Entry(file, node))
    return entries


def names_of_kind(kind: Kind) -> tuple[str, ...]:
    """The names of all modules, or of all patterns, of the standard library."""
    return tuple(name for name, found in library().items() if any(entry.kind == kind for entry in found))


def how_to_use(name: str, kind: Kind) -> tuple[str, ...]:
    """The edit that brings a module or pattern of the standard library into a spec, if it has that name."""
    return tuple(
        f'`{name}` is in the standard library: write `use "{entry.file}"`'
        for entry in library().get(name, ())
        if entry.kind == kind
    )


def how_to_match(name: str) -> tuple[str, ...]:
    """What a word is that stands after `match` like a class and is a module of the standard library."""
    return tuple(
        f"`{name}` of `{entry.file}` is a replacement: it stands after `replace with`, and `match` "
        "names what the guide has"
        for entry in library().get(name, ())
        if entry.kind == "module"
    )
