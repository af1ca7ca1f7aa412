"""`theseus-fx trace`: the graph that a rule can match, with names to copy."""

from __future__ import annotations

from typing import Literal

import click

from theseus_fx.cli.options import json_option, trust_option
from theseus_fx.cli.output import console, print_json
from theseus_fx.cli.trust import trust_or_ask


@click.command()
@click.argument("model")
@click.option(
    "--filter",
    "filters",
    metavar="GLOB_OR_CLASS",
    multiple=True,
    help="Show only modules of this path or class and operations of this name; may be repeated.",
)
@click.option("--depth", type=click.IntRange(min=0), metavar="N", help="Levels of modules to open.")
@click.option(
    "--input",
    "inputs",
    metavar="'NAME: DTYPE[batch, ...]'",
    multiple=True,
    help="What the model takes, as in an `input` sentence; once for each input.",
)
@click.option(
    "--network",
    type=click.Choice(["guide", "target"]),
    default="guide",
    show_default=True,
    help="Which network of a spec with a `target` of its own.",
)
@trust_option
@json_option
def trace(
    model: str,
    filters: tuple[str, ...],
    depth: int | None,
    inputs: tuple[str, ...],
    network: Literal["guide", "target"],
    trust: bool,
    as_json: bool,
) -> None:
    """Prints the modules and operations of a model as a rule can match them; needs no weights or network.

    MODEL is a model as in a `guide` sentence, or the path of a .thx file, whose guide is meant. CamelCase
    names are classes, dotted names are paths for `in` and `keep`, snake_case names are operations. Without
    --input, images or tokens of the usual size are assumed.

    \b
    Example:
      theseus-fx trace torchvision.resnet18 --depth 2
      theseus-fx trace 'small_resnet(width = 8)' --filter 'layer3*' --filter Linear
      theseus-fx trace 'transformers.GPT2LMHeadModel(n_layer = 2)' --input 'input_ids: i64[batch, 64]'
      theseus-fx trace specs/digits_to_mlp.thx --json | jq '.tree.inside[].path'
      theseus-fx trace specs/resnet50_to_resnet18.thx --network target --filter BasicBlock
    """
    from theseus_fx.cli.views.outline import outline_view
    from theseus_fx.inspection.narrowed import narrowed
    from theseus_fx.inspection.outline import outline
    from theseus_fx.inspection.subject import SUFFIX, subject
    from theseus_fx.models.from_python import trusting

    if network == "target" and not model.endswith(SUFFIX):
        raise click.UsageError("--network chooses between the networks of a spec; this is a model")
    with trusting(trust_or_ask(trust, as_json=as_json)):
        traced = outline(subject(model, inputs, network=network))
    found = narrowed(traced, filters=filters, depth=depth).as_json()
    if as_json:
        print_json(found)
        return
    shown = console()
    for part in outline_view(found, rich=shown.is_terminal):
        shown.print(part)
