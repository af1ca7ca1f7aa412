"""`theseus-fx run`: carries out a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from theseus_fx.cli.options import json_option, quiet_option, set_option, trust_option
from theseus_fx.cli.trust import trust_or_ask

DEFAULT_PLAN = "plan.json"


@click.command()
@click.argument("spec", required=False, metavar="[SPEC | PLAN.json]")
@set_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the run; new or empty.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random."
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="`auto` takes CUDA where there is one.",
)
@trust_option
@quiet_option
@json_option
def run(
    spec: str | None,
    assignments: dict[str, str],
    out: Path | None,
    seed: int,
    device: Literal["auto", "cpu", "cuda"],
    trust: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Converts the guide: aligns stage by stage, recalibrates, fine-tunes, compares.

    Takes a spec, a plan saved by `plan --out`, or nothing: then the plan.json of the current folder. A saved
    plan is refused when its spec or model has changed since.

    \b
    Example:
      theseus-fx run specs/digits_to_mlp.thx
      theseus-fx run specs/digits_to_mlp.thx --seed 1 --set rank=64 --out runs/rank64
      theseus-fx plan specs/digits_to_mlp.thx --out plan.json && theseus-fx run
    """
    from theseus_fx import api
    from theseus_fx.cli.conduct import conduct

    saved = spec is None or spec.endswith(".json")
    if saved and assignments:
        raise click.UsageError("--set changes a spec; a saved plan is carried out as it is")
    if spec is None and not Path(DEFAULT_PLAN).exists():
        raise click.UsageError(f"name a spec or a saved plan: there is no {DEFAULT_PLAN} in this folder")
    trusted = trust_or_ask(trust, quiet=quiet, as_json=as_json)
    if saved:
        made = api.open_plan(spec or DEFAULT_PLAN, trust=trusted)
    else:
        made = api.plan(Path(str(spec)), set=assignments, trust=trusted)
    return conduct(
        lambda observer: api.run_plan(
            made, out=out, seed=seed, device=device, observer=observer, trust=trusted
        ),
        quiet=quiet,
        as_json=as_json,
    )
