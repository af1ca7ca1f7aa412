"""How the replacement of a part begins: as the spec says, or fitted where that is possible."""

from __future__ import annotations

import math

from torch import nn

from theseus_fx.graph.values import ValueInfo
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import Start
from theseus_fx.match.matcher import Site
from theseus_fx.modules.recipe import LowRankForm, Recipe

METRIC_LIMIT = 8192
"""The logit metric is a d_out x d_out matrix in float64; above this a fit is plain."""

ACTIVATION_LIMIT = 4 * 2**30
"""A fit holds inputs and outputs of its samples in float32; bytes above which it is not the default."""


def choose_start(
    site: Site, recipe: Recipe, wanted: Start | None, module: nn.Module | None = None
) -> tuple[Start, str]:
    """The start of a replacement and the reason for it.

    Args:
        site: the part.
        recipe: its replacement.
        wanted: what the spec asks for; None: a fit where the recipe has the form for one, else random.
        module: the guide's module, on any device, from which a copy would be made.

    Raises:
        Rejected: THX508 where the spec asks for a fit or a copy that the replacement does not allow.
    """
    form = recipe.low_rank_form()
    if wanted is None:
        return _default(form, site)
    if wanted.kind == "fit" and (problem := _obstacle(form, site, wanted)):
        raise Rejected(
            Diagnostic(
                code="THX508",
                message=f"`{site}` cannot start from a fit: {problem[0]}",
                primary=Label(wanted.span or site.rule.replacement.span, "asked for here"),
                secondary=(Label(site.rule.replacement.span, "the replacement"),),
                help=(problem[1],),
            )
        )
    if wanted.kind == "copy" and (problem := _no_copy(recipe, module)):
        raise Rejected(
            Diagnostic(
                code="THX508",
                message=f"`{site}` cannot start as a copy: {problem}",
                primary=Label(wanted.span or site.rule.replacement.span, "asked for here"),
                secondary=(Label(site.rule.replacement.span, "the replacement"),),
                help=("write `init = random`",),
            )
        )
    return wanted, "as the spec says"


def _default(form: LowRankForm | None, site: Site) -> tuple[Start, str]:
    wide = form is not None and form.d_out > METRIC_LIMIT
    fit = Start(kind="fit", metric="plain" if wide else "logits")
    if problem := _obstacle(form, site, fit):
        return Start(kind="random"), problem[0]
    reason = "the default for two linear maps"
    return fit, f"{reason}; {_matrix(form)}" if form is not None and wide else reason


def _obstacle(form: LowRankForm | None, site: Site, start: Start) -> tuple[str, str] | None:
    """Why a fit does not apply, and the edit that would help."""
    if form is None:
        return "it does not end in `Linear(r, bias = false) |> Linear(out)`", "write `init = random`"
    if not (_has_features(site.input, form.d_in) and _has_features(site.output, form.d_out)):
        return "its maps do not act on whole samples", "begin it with `flatten`, or write `init = random`"
    if not form.bias:
        return "its second `Linear` has no bias", "leave out `bias = false` there, or write `init = random`"
    if start.metric == "logits" and form.d_out > METRIC_LIMIT:
        return _matrix(form), "write `fit(metric = plain)`, or `init = random`"
    if start.samples <= min(form.rank, form.d_in, form.d_out):
        return (
            f"{start.samples:,} samples do not determine a map of rank {form.rank:,}",
            "write `fit(samples = N)` with more samples than the rank, or `init = random`",
        )
    needed = 4 * start.samples * (form.d_in + form.d_out)
    if needed > ACTIVATION_LIMIT:
        return (
            f"activations of {start.samples:,} samples take {needed / 2**30:.1f} GiB",
            "write `fit(samples = N)` with fewer samples, or `init = random`",
        )
    return None


def _no_copy(recipe: Recipe, module: nn.Module | None) -> str | None:
    """Why the guide's tensors do not fill the replacement one by one, if they do not."""
    if module is None:
        return "there is no one module of the guide to copy from"
    theirs = [tuple(tensor.shape) for tensor in module.state_dict().values()]
    ours = [tuple(tensor.shape) for tensor in recipe.make(device="meta").state_dict().values()]
    if len(theirs) != len(ours):
        return f"the guide's part has {_tensors(len(theirs))} and the replacement {_tensors(len(ours))}"
    pairs = zip(theirs, ours, strict=True)
    unlike = next((position for position, (a, b) in enumerate(pairs) if a != b), None)
    if unlike is None:
        return None
    shapes = [" x ".join(map(str, shape[unlike])) or "scalar" for shape in (theirs, ours)]
    return f"tensor {unlike + 1} is {shapes[0]} in the guide's part and {shapes[1]} in the replacement"


def _tensors(count: int) -> str:
    return "1 tensor" if count == 1 else f"{count} tensors"


def _has_features(value: ValueInfo, count: int) -> bool:
    sizes = [size for size in value.shape[1:] if isinstance(size, int)]
    return len(sizes) == len(value.shape) - 1 and math.prod(sizes) == count


def _matrix(form: LowRankForm) -> str:
    return f"the logit metric needs a {form.d_out:,} x {form.d_out:,} matrix"
