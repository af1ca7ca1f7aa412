"""`theseus-fx explain`: a topic of the language, a name of the standard library, or a diagnostic code."""

from __future__ import annotations

import click

from theseus_fx.cli.options import json_option
from theseus_fx.cli.output import console, print_json, print_markdown
from theseus_fx.lang.codes import CODES
from theseus_fx.lang.diagnostics import near_names
from theseus_fx.lang.library import Entry, library
from theseus_fx.lang.manual import page, topic, topics
from theseus_fx.lang.printer import print_definition


@click.command()
@click.argument("name", metavar="[TOPIC|NAME|CODE]", required=False)
@json_option
def explain(name: str | None, as_json: bool) -> None:
    """Explains a topic of the language, a module or pattern of the standard library, or a diagnostic code.

    Alone it lists them.

    \b
    Examples:
      theseus-fx explain
      theseus-fx explain rule
      theseus-fx explain LowRankLinear
      theseus-fx explain residual
      theseus-fx explain THX402
    """
    if name is None:
        _list(as_json=as_json)
    elif name.upper() in CODES:
        _explain_code(name.upper(), as_json=as_json)
    elif name in library():
        _explain_entries(name, library()[name], as_json=as_json)
    elif name.lower() in topics():
        _explain_topic(name.lower(), as_json=as_json)
    else:
        near = near_names(name, [*topics(), *library(), *CODES])
        hint = f" Did you mean {', '.join(near)}?" if near else " `theseus-fx explain` lists what there is."
        raise click.UsageError(f"there is no topic, module, pattern or diagnostic {name}.{hint}")


def _list(*, as_json: bool) -> None:
    entries = [entry for found in library().values() for entry in found]
    if as_json:
        print_json(
            {
                "topics": [{"topic": name, "title": title} for name, title in topics().items()],
                "library": [_entry_json(entry) for entry in entries],
                "codes": [{"code": code, "title": entry.title} for code, entry in CODES.items()],
            }
        )
        return
    out = console()
    out.print("topics", style="bold", end="")
    out.print(", of which `theseus-fx explain spec` comes first")
    width = max(map(len, topics()))
    for name, title in topics().items():
        out.print(f"  {name:{width}}  {title}")
    for file in sorted({entry.file for entry in entries}):
        out.print(f'use "{file}"', style="bold")
        for entry in entries:
            if entry.file == file:
                out.print(f"  {entry.kind:7} {entry.definition.signature}")
    out.print("diagnostics", style="bold")
    for code, entry in CODES.items():
        out.print(f"  {code}  {entry.title}")


def _explain_code(code: str, *, as_json: bool) -> None:
    entry, shown = CODES[code], page(code)
    if as_json:
        print_json({"code": code, "title": entry.title, "explanation": entry.explanation, "page": shown})
        return
    print_markdown(f"# {code}: {entry.title}\n\n{entry.explanation}\n\n{shown}")


def _explain_topic(name: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"topic": name, "title": topics()[name], "page": topic(name)})
        return
    print_markdown(topic(name))


def _explain_entries(name: str, entries: tuple[Entry, ...], *, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "definitions": [_entry_json(entry) for entry in entries]})
        return
    out = console()
    for entry in entries:
        out.print(f"{entry.kind} {entry.definition.signature}", style="bold")
        out.print(entry.definition.doc)
        out.print(f'\nuse "{entry.file}"\n')
        out.print("\n".join(print_definition(entry.definition)))


def _entry_json(entry: Entry) -> dict[str, str]:
    return {
        "name": entry.definition.name.text,
        "kind": entry.kind,
        "signature": entry.definition.signature,
        "use": entry.file,
        "doc": entry.definition.doc,
        "text": "\n".join(print_definition(entry.definition)),
    }
