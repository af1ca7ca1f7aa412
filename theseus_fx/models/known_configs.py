"""The built-in table of published model sizes: what a hub name means without asking the hub."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from theseus_fx.lang.diagnostics import near_names

_FILE = Path(__file__).with_name("known_configs.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownConfig:
    """One published configuration."""

    name: str
    """As the hub has it today: `openai-community/gpt2`."""
    model_type: str
    """That of the configuration class it belongs to."""
    counted_as: str
    """The class whose parameters were counted."""
    parameters: int
    """Shared ones once."""
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What differs from the defaults of the configuration class."""
    also: tuple[str, ...] = ()
    """Older names."""


@cache
def known_configs() -> Mapping[str, KnownConfig]:
    """The table by every name, old ones included."""
    rows = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    table: dict[str, KnownConfig] = {}
    for name, row in rows.items():
        also = tuple(row.pop("also", ()))
        known = KnownConfig(name=name, also=also, **row)
        table |= dict.fromkeys((name, *known.also), known)
    return table


def near_configs(name: str, model_type: str) -> tuple[str, ...]:
    """At most three names of the table for a model type: those close to `name`, else the first ones."""
    alike = {known: row for known, row in known_configs().items() if row.model_type == model_type}
    current = list(dict.fromkeys(row.name for row in alike.values()))
    return tuple(near_names(name, list(alike)) or current[:3])
