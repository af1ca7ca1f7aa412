"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def _assignments(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name.strip() or not text.strip():
            raise click.BadParameter(f"{value!r} is not of the form name=value")
        found[name.strip()] = text.strip()
    return found


Command = Callable[..., Any]

set_option: Callable[[Command], Command] = click.option(
    "--set",
    "assignments",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_assignments,
    help="Give a `param` of the spec another value; may be repeated.",
)
trust_option: Callable[[Command], Command] = click.option(
    "--trust", is_flag=True, help="Allow the Python files that the spec names to be run."
)
json_option: Callable[[Command], Command] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on stdout instead of text."
)
quiet_option: Callable[[Command], Command] = click.option(
    "--quiet", "-q", is_flag=True, help="Print nothing while it runs."
)
