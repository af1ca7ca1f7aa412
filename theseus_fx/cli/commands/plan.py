"""`theseus-fx plan`: every stage before anything is trained."""

from __future__ import annotations

from pathlib import Path

import click

from theseus_fx.cli.options import json_option, set_option, trust_option
from theseus_fx.cli.output import console, print_json
from theseus_fx.cli.trust import trust_or_ask


@click.command()
@click.argument("spec")
@set_option
@click.option("--out", type=click.Path(path_type=Path), help="Save the plan as JSON, for `theseus-fx run`.")
@trust_option
@json_option
def plan(spec: str, assignments: dict[str, str], out: Path | None, trust: bool, as_json: bool) -> None:
    """Compiles a spec against its guide and prints the stages; needs no weights, data or network.

    \b
    Example:
      theseus-fx plan specs/resnet18_to_mlp.thx
      theseus-fx plan specs/resnet18_to_mlp.thx --set rank=512 --out plan.json
      theseus-fx plan specs/digits_to_mlp.thx --json | jq '.stages[].guide_share'
    """
    from theseus_fx import api
    from theseus_fx.cli.views.plan import plan_view
    from theseus_fx.run.folder import write_json

    made = api.plan(Path(spec), set=assignments, trust=trust_or_ask(trust, as_json=as_json)).as_json()
    if out is not None:
        write_json(out, made)
    if as_json:
        print_json(made)
        return
    shown = console()
    for part in plan_view(made):
        shown.print(part)
    if out is not None:
        shown.print(f"saved as {out}; `theseus-fx run {out}` carries out exactly this")
