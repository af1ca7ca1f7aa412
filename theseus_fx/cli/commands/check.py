"""`theseus-fx check`: the spec by itself, without torch, models or data."""

from __future__ import annotations

import click

from theseus_fx.cli.options import json_option, set_option
from theseus_fx.cli.output import console, print_json
from theseus_fx.lang import loader
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.spec import Spec


@click.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
@set_option
@json_option
def check(specs: tuple[str, ...], assignments: dict[str, str], as_json: bool) -> None:
    """Checks the words and values of a spec; imports no torch, reads no model and no data.

    Whether the rules match the guide and the replacements fit is what `plan` finds out.

    \b
    Example:
      theseus-fx check specs/resnet18_to_mlp.thx
      theseus-fx check specs/*.thx --json
    """
    checked: list[Spec] = []
    mistakes: list[Diagnostic] = []
    for path in specs:
        try:
            checked.append(loader.load(path, assignments=assignments))
        except Rejected as rejected:
            mistakes += rejected.diagnostics
    if mistakes:
        raise Rejected(*mistakes)
    if as_json:
        files = [{"path": spec.source.name, "sha256": spec.source.sha256} for spec in checked]
        print_json({"kind": "theseus-fx check", "schema": 1, "files": files, "diagnostics": []})
        return
    for spec in checked:
        rules = f"{len(spec.rules)} rule{'' if len(spec.rules) == 1 else 's'}"
        console().print(f"{spec.source.name}: no mistakes ({rules}, schedule {spec.schedule.kind})")
