"""The command line: `theseus-fx COMMAND`.

Exit codes: 0 done; 1 something in the spec, model, data or files; 2 command-line usage; 70 a bug of ours;
130 stopped with Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import click

from theseus_fx.cli.commands.check import check
from theseus_fx.cli.commands.diff import diff
from theseus_fx.cli.commands.explain import explain
from theseus_fx.cli.commands.fmt import fmt
from theseus_fx.cli.commands.match import match
from theseus_fx.cli.commands.new import new
from theseus_fx.cli.commands.plan import plan
from theseus_fx.cli.commands.resume import resume
from theseus_fx.cli.commands.run import run
from theseus_fx.cli.commands.trace import trace
from theseus_fx.cli.output import print_diagnostics
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.version import __version__

OK, REJECTED, USAGE, BUG, STOPPED = 0, 1, 2, 70, 130


class InOrder(click.Group):
    """Lists the commands in the order in which a person meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="theseus-fx")
def theseus_fx() -> None:
    """Turns one network into another architecture, part by part.

    A short .thx file says which parts become what; `plan` shows every stage before anything is trained,
    `run` carries it out, `resume` goes on after an interruption.

    \b
    Example:
      theseus-fx plan specs/resnet18_to_mlp.thx
      theseus-fx run specs/digits_to_mlp.thx
    """


for _command in (plan, run, resume, match, trace, diff, new, check, fmt, explain):
    theseus_fx.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with its code."""
    sys.exit(run_command(lambda: theseus_fx.main(arguments, standalone_mode=False), arguments))


def run_command(command: Callable[[], object], arguments: Sequence[str] | None = None) -> int:
    """The exit code of a command; everything that went wrong has been said on stderr (or as JSON)."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        outcome = command()
    except Rejected as rejected:
        print_diagnostics(rejected.diagnostics, as_json="--json" in given)
        return REJECTED
    except click.ClickException as error:
        error.show()
        return USAGE
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped", err=True)
        return STOPPED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has gone; nothing is left to say
        return OK
    except Exception as error:  # noqa: BLE001 - the last resort: a bug, told as one
        _tell_bug(error)
        return BUG
    return outcome if isinstance(outcome, int) else OK


def _tell_bug(error: Exception) -> None:
    import traceback

    click.echo("".join(traceback.format_exception(error)), err=True)
    click.echo(
        f"This is a bug in theseus-fx {__version__}, not a mistake of yours.\n"
        "Please report it with the lines above and the spec.",
        err=True,
    )
