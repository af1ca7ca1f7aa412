"""`theseus-fx check`: the spec by itself, without torch, models or data."""

from __future__ import annotations

import click

from theseus_fx.cli.options import json_option, set_option
from theseus_fx.cli.output import console, print_json
from theseus_fx.lang import loader
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.source import Source


@click.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
@set_option
@click.option("--syntax", "syntax_only", is_flag=True, help="Only whether the files parse.")
@json_option
def check(specs: tuple[str, ...], assignments: dict[str, str], syntax_only: bool, as_json: bool) -> None:
    """Checks the words and values of a spec; imports no torch, reads no model and no data.

    A file of modules and patterns only is checked as one that specs `use`. Whether rules match the guide and
    replacements fit is what `plan` finds out.

    \b
    Example:
      theseus-fx check specs/resnet18_to_mlp.thx
      theseus-fx check specs/*.thx specs/std/*.thx --json
      theseus-fx check --syntax half_written.thx
    """
    checked: list[tuple[Source, str]] = []
    mistakes: list[Diagnostic] = []
    for path in specs:
        try:
            checked.append(_checked(path, assignments, syntax_only=syntax_only))
        except Rejected as rejected:
            mistakes += rejected.diagnostics
    if mistakes:
        raise Rejected(*mistakes)
    if as_json:
        files = [{"path": source.name, "sha256": source.sha256} for source, _ in checked]
        print_json({"kind": "theseus-fx check", "schema": 1, "files": files, "diagnostics": []})
        return
    for source, what in checked:
        console().print(f"{source.name}: no mistakes ({what})")


def _checked(path: str, assignments: dict[str, str], *, syntax_only: bool) -> tuple[Source, str]:
    """A file without mistakes, and what it is in a few words."""
    document = loader.load_library(path, syntax_only=syntax_only)
    if document is not None:
        count = len(document.statements)
        what = "sentence" if syntax_only else "definition"
        return document.source, f"{count} {what}{'' if count == 1 else 's'}"
    spec = loader.load(path, assignments=assignments)
    aligned, word = (len(spec.pairs), "pair") if spec.pairs else (len(spec.rules), "rule")
    return spec.source, f"{aligned} {word}{'' if aligned == 1 else 's'}, schedule {spec.schedule.kind}"
