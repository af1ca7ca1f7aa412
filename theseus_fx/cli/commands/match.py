"""`theseus-fx match`: the sites of every rule, its near misses, and what no rule covers."""

from __future__ import annotations

from pathlib import Path

import click

from theseus_fx.cli.options import json_option, set_option, trust_option
from theseus_fx.cli.output import console, print_diagnostics, print_json
from theseus_fx.cli.trust import trust_or_ask

REJECTED = 1


@click.command()
@click.argument("spec")
@set_option
@trust_option
@json_option
def match(spec: str, assignments: dict[str, str], trust: bool, as_json: bool) -> int:
    """Prints where the rules of a spec match, what nearly matched, and what no rule covers.

    Where a rule finds too few parts or none, the modules or operations that came nearest are listed with the
    step that they did not pass. Of a spec with a `target`, it prints the windows of both networks and the
    blocks that are in none. The answer comes even where the spec cannot be planned; then the diagnostics
    follow, and the exit code is 1.

    \b
    Example:
      theseus-fx match specs/resnet18_to_mlp.thx
      theseus-fx match mine.thx --json | jq '.uncovered.groups[].name'
    """
    from theseus_fx.cli.views.rules import rules_view
    from theseus_fx.inspection.rules import rules_report
    from theseus_fx.models.from_python import trusting

    with trusting(trust_or_ask(trust, as_json=as_json)):
        report = rules_report(Path(spec), assignments)
    facts = report.as_json()
    if as_json:
        print_json(facts)
        return REJECTED if report.problems else 0
    shown = console()
    for part in rules_view(facts):
        shown.print(part)
    if report.problems:
        shown.print()
        print_diagnostics(report.problems)
        return REJECTED
    return 0
