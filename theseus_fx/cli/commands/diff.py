"""`theseus-fx diff`: what changes between two plans, and which finished work survives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from theseus_fx.cli.options import json_option, set_option, trust_option
from theseus_fx.cli.output import console, print_json
from theseus_fx.cli.trust import Asking, trust_or_ask

if TYPE_CHECKING:
    from theseus_fx.inspection.sides import Side

DIFFERENT = 1


@click.command()
@click.argument("a")
@click.argument("b")
@set_option
@click.option("--exit-code", is_flag=True, help="Exit with 1 where the plans differ.")
@trust_option
@json_option
def diff(a: str, b: str, assignments: dict[str, str], exit_code: bool, trust: bool, as_json: bool) -> int:
    """Compares two plans: stages added, removed and changed, and which finished work of A survives under B.

    A and B are specs, plans saved by `plan --out`, or run folders. A saved plan is taken as it was. --set
    gives the params of B other values. The work of a stage survives where the stage, all before it, the
    guide, the inputs, the data and the seed are the same.

    \b
    Example:
      theseus-fx diff runs/digits_to_mlp specs/digits_to_mlp.thx
      theseus-fx diff mine.thx mine.thx --set rank=64
      theseus-fx diff old.json new.json --exit-code --json
    """
    from theseus_fx.cli.views.difference import difference_view
    from theseus_fx.inspection.difference import difference

    if assignments and _is_saved(b):
        raise click.UsageError("--set changes a spec; B is a saved plan")
    trusted = trust_or_ask(trust, as_json=as_json)
    found = difference(_side(a, {}, trusted), _side(b, assignments, trusted))
    facts = found.as_json()
    if as_json:
        print_json(facts)
    else:
        shown = console()
        for line in difference_view(facts):
            shown.print(line)
    return DIFFERENT if exit_code and not found.equal else 0


def _is_saved(path: str) -> bool:
    return path.endswith(".json") or Path(path).is_dir()


def _side(path: str, assignments: dict[str, str], trust: bool | Asking) -> Side:
    from theseus_fx import api
    from theseus_fx.inspection.sides import planned, saved

    if _is_saved(path):
        return saved(Path(path))
    return planned(path, api.plan(Path(path), set=assignments, trust=trust))
