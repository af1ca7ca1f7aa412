"""`theseus-fx explain`: what a diagnostic code means and what to do about it."""

from __future__ import annotations

import click

from theseus_fx.cli.options import json_option
from theseus_fx.cli.output import console, print_json
from theseus_fx.lang.codes import CODES
from theseus_fx.lang.diagnostics import near_names


@click.command()
@click.argument("code")
@json_option
def explain(code: str, as_json: bool) -> None:
    """Explains a diagnostic code.

    \b
    Example:
      theseus-fx explain THX402
    """
    key = code.upper()
    if key not in CODES:
        near = near_names(key, CODES)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise click.UsageError(f"there is no diagnostic {code}.{hint}")
    entry = CODES[key]
    if as_json:
        print_json({"code": key, "title": entry.title, "explanation": entry.explanation})
        return
    out = console()
    out.print(f"{key}: {entry.title}", style="bold")
    out.print(entry.explanation)
