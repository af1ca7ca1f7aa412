"""How a replacement begins: as torch initialises it, as a copy of the guide's part, or fitted to it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from theseus_fx.data.order import stable_seed
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import Start
from theseus_fx.modules.endings import ElmanEnding, LinearEnding, NoEnding, ending_of
from theseus_fx.planning.plan import Part
from theseus_fx.run.fitting.activations import Site
from theseus_fx.run.fitting.elman import start_elman
from theseus_fx.run.fitting.linear import start_linear
from theseus_fx.run.job import Job


def random_start(job: Job, part: Part) -> nn.Module:
    """The part's replacement with torch's initialisation, from the run's seed and the part's name."""
    seed = stable_seed(job.session.seed, "start", part.name)
    return part.recipe.make(device=job.session.device, seed=seed)


def copied_start(job: Job, part: Part) -> nn.Module:
    """The part's replacement with the tensors of the guide's part, in order; the planner compared shapes."""
    module = random_start(job, part)
    fill(module, job.guide.get_submodule(part.path))
    return module


@torch.no_grad()
def fill(module: nn.Module, other: nn.Module) -> None:
    """Gives a module the tensors of another, one by one in the order of their `state_dict`."""
    for own, its in zip(module.state_dict().values(), other.state_dict().values(), strict=True):
        own.copy_(its)


def fitted_start(job: Job, part: Part, introduced: Mapping[str, nn.Module], start: Start) -> nn.Module:
    """The part's replacement, fitted to the guide's outputs from the hybrid's own inputs.

    Args:
        job: the run.
        part: what is replaced; the planner has found that there is a fit for its recipe.
        introduced: the replacements that stand already, whose drift the fit sees.
        start: number of samples, metric and ridge of the fit.

    Raises:
        Rejected: THX508 where the activations do not determine the fit, or are not finite.
    """
    if start.samples is None:
        raise ValueError("the plan has not decided how many samples the fit looks at")
    module = random_start(job, part)
    was_training = module.training
    site = Site(job=job, part=part, introduced=introduced, samples=start.samples)
    try:
        match ending_of(part.recipe):
            case LinearEnding() as ending:
                start_linear(site, module, ending, metric=start.metric or "plain", ridge=start.ridge)
            case ElmanEnding() as ending:
                start_elman(site, module, ending)
            case NoEnding(reason=reason):
                raise TypeError(f"{part.name} has no fit: {reason}")  # the planner chose the start
    except ValueError as error:  # too few samples for the rank, or activations that are not finite
        raise Rejected(
            Diagnostic(
                code="THX508",
                message=f"{part.name} {part.path} cannot start from a fit: {error}",
                primary=None if start.span is None else Label(start.span),
                help=("write `init = random`, more `samples`, or a smaller rank",),
            )
        ) from error
    return module.train(was_training)
