"""Which batch statistics are computed anew, in the model as it will be after the replacements."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected, did_you_mean
from theseus_fx.lang.spec import Recalibrate
from theseus_fx.match.matcher import Site
from theseus_fx.modules.recipe import Recipe
from theseus_fx.planning.parts import inside
from theseus_fx.planning.plan import RecalibrateStep


def recalibration(
    wanted: Recalibrate, model: nn.Module, sites: Sequence[Site], recipes: Sequence[Recipe]
) -> RecalibrateStep:
    """The modules of exactly the named class that the converted model has, counted.

    Raises:
        Rejected: THX303 where there are none, or where they keep no batch statistics.
    """
    left = [module for path, module in model.named_modules() if not inside(path, sites)]
    left += [module for recipe in recipes for module in recipe.make(device="meta").modules()]
    chosen = [module for module in left if type(module).__name__ == wanted.module_class]
    if not chosen:
        raise _rejected(wanted, f"the converted model has no `{wanted.module_class}` to recalibrate", left)
    if not all(_keeps_statistics(module) for module in chosen):
        raise _rejected(wanted, f"`{wanted.module_class}` keeps no batch statistics to recalibrate", left)
    return RecalibrateStep(module_class=wanted.module_class, modules=len(chosen), over=wanted.over)


def _keeps_statistics(module: nn.Module) -> bool:
    norm = isinstance(module, nn.modules.batchnorm._NormBase)  # pyright: ignore[reportPrivateUsage]
    return norm and module.track_running_stats


def _rejected(wanted: Recalibrate, message: str, left: Sequence[nn.Module]) -> Rejected:
    known = sorted({type(module).__name__ for module in left if _keeps_statistics(module)})
    near = did_you_mean(wanted.module_class, known, what="classes with batch statistics that remain")
    return Rejected(
        Diagnostic(
            code="THX303",
            message=message,
            primary=Label(wanted.span),
            help=near or ("no module with batch statistics remains: leave the sentence out",),
        )
    )
