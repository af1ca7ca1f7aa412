"""`theseus-fx resume`: goes on with a run that was stopped or killed."""

from __future__ import annotations

from pathlib import Path

import click

from theseus_fx.cli.options import json_option, quiet_option, trust_option
from theseus_fx.cli.trust import Asking, trust_or_ask


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@trust_option
@quiet_option
@json_option
def resume(run: Path, trust: bool, quiet: bool, as_json: bool) -> int:
    """Goes on with a run from its last checkpoint; on a CPU the result is the same as without the stop.

    \b
    Example:
      theseus-fx resume runs/digits_to_mlp
    """
    from theseus_fx import api
    from theseus_fx.cli.conduct import conduct

    trusted = trust_or_ask(trust, quiet=quiet, as_json=as_json)
    if isinstance(trusted, Asking):
        for source in api.kept_code(run):  # asked before anything is drawn on the terminal
            trusted(source)
    return conduct(
        lambda observer: api.resume(run, observer=observer, trust=trusted), quiet=quiet, as_json=as_json
    )
