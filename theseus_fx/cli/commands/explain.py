"""`theseus-fx explain`: what a diagnostic code means, and what a name of the standard library is."""

from __future__ import annotations

import click

from theseus_fx.cli.options import json_option
from theseus_fx.cli.output import console, print_json
from theseus_fx.lang.codes import CODES
from theseus_fx.lang.diagnostics import near_names
from theseus_fx.lang.library import Entry, library
from theseus_fx.lang.printer import print_definition


@click.command()
@click.argument("name", metavar="[CODE|NAME]", required=False)
@json_option
def explain(name: str | None, as_json: bool) -> None:
    """Explains a diagnostic code, or a module of the standard library; alone it lists them.

    \b
    Examples:
      theseus-fx explain
      theseus-fx explain THX402
      theseus-fx explain LowRankLinear
    """
    if name is None:
        _list(as_json=as_json)
    elif name.upper() in CODES:
        _explain_code(name.upper(), as_json=as_json)
    elif name in library():
        _explain_entries(name, library()[name], as_json=as_json)
    else:
        near = near_names(name, library()) or near_names(name.upper(), CODES)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise click.UsageError(f"there is no diagnostic or module {name}.{hint}")


def _list(*, as_json: bool) -> None:
    entries = [entry for found in library().values() for entry in found]
    if as_json:
        print_json(
            {
                "library": [_entry_json(entry) for entry in entries],
                "codes": [{"code": code, "title": entry.title} for code, entry in CODES.items()],
            }
        )
        return
    out = console()
    for file in sorted({entry.file for entry in entries}):
        out.print(f'use "{file}"', style="bold")
        for entry in entries:
            if entry.file == file:
                out.print(f"  {entry.definition.signature}")
    out.print("diagnostics", style="bold")
    for code, entry in CODES.items():
        out.print(f"  {code}  {entry.title}")


def _explain_code(code: str, *, as_json: bool) -> None:
    entry = CODES[code]
    if as_json:
        print_json({"code": code, "title": entry.title, "explanation": entry.explanation})
        return
    out = console()
    out.print(f"{code}: {entry.title}", style="bold")
    out.print(entry.explanation)


def _explain_entries(name: str, entries: tuple[Entry, ...], *, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "definitions": [_entry_json(entry) for entry in entries]})
        return
    out = console()
    for entry in entries:
        out.print(entry.definition.signature, style="bold")
        out.print(entry.definition.doc)
        out.print(f'\nuse "{entry.file}"\n')
        out.print("\n".join(print_definition(entry.definition)))


def _entry_json(entry: Entry) -> dict[str, str]:
    return {
        "name": entry.definition.name.text,
        "signature": entry.definition.signature,
        "use": entry.file,
        "doc": entry.definition.doc,
        "text": "\n".join(print_definition(entry.definition)),
    }
