"""`theseus-fx new`: a commented spec to start from."""

from __future__ import annotations

from pathlib import Path

import click

from theseus_fx.cli.options import trust_option
from theseus_fx.cli.trust import trust_or_ask

TEMPLATE_NAMES = ("low_rank", "mlp")


@click.command()
@click.argument("model")
@click.option("--out", type=click.Path(path_type=Path), help="Write it to a new file instead of stdout.")
@click.option(
    "--to",
    "template",
    type=click.Choice(TEMPLATE_NAMES),
    default=TEMPLATE_NAMES[0],
    show_default=True,
    help="What the parts become: two linear maps, or a perceptron with a hidden layer.",
)
@click.option(
    "--input",
    "inputs",
    metavar="'NAME: DTYPE[batch, ...]'",
    multiple=True,
    help="What the model takes, as in an `input` sentence; once for each input.",
)
@trust_option
def new(model: str, out: Path | None, template: str, inputs: tuple[str, ...], trust: bool) -> None:
    """Prints a commented spec for a model that `plan` accepts as it is.

    The model is traced, without weights or network; the rule takes the class of layers that costs most, all
    but the last layer. A Python file that the model names lies beside the spec. An existing file is never
    overwritten.

    \b
    Example:
      theseus-fx new torchvision.resnet18 --out mine.thx
      theseus-fx new 'small_resnet(width = 8)' --to mlp
      theseus-fx new 'transformers.GPT2LMHeadModel(n_layer = 2)' > gpt2.thx && theseus-fx plan gpt2.thx
    """
    from theseus_fx.inspection.draft import draft
    from theseus_fx.inspection.subject import SUFFIX
    from theseus_fx.inspection.templates import TEMPLATES
    from theseus_fx.lang.diagnostics import Diagnostic, Rejected
    from theseus_fx.models.from_python import trusting
    from theseus_fx.run.folder import writing

    if model.endswith(SUFFIX):
        raise click.UsageError("`new` begins with a model; a spec there is already")
    exists = Diagnostic(code="THX003", message=f"{out} exists already", help=("choose another name",))
    if out is not None and out.exists():
        raise Rejected(exists)
    folder = None if out is None else out.parent
    with trusting(trust_or_ask(trust)):
        text = draft(model, TEMPLATES[template], inputs=inputs, folder=folder)
    if out is None:
        click.echo(text, nl=False)
        return
    with writing(out):
        try:
            with out.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise Rejected(exists) from None
    click.echo(f"written to {out}; `theseus-fx plan {out}` shows what it does")
