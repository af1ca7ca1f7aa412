"""The converted architecture without anything of the guide in it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from theseus_fx.data.order import stable_seed
from theseus_fx.models.resolve import build
from theseus_fx.run.hybrid import hybrid
from theseus_fx.run.job import Job
from theseus_fx.run.start import random_start


def from_scratch(job: Job, kept_guide: Sequence[str]) -> nn.Module:
    """The target with fresh parameters, from the run's seed; a network of its own as its library builds it.

    The guide's rest begins as its library builds it without weights. A guide that was handed over as an
    object cannot be built again: a copy of it is initialised anew (`reinitialise`).
    """
    session, spec = job.session, job.plan.spec
    with torch.random.fork_rng(devices=[session.device] if session.device.type == "cuda" else []):
        torch.manual_seed(stable_seed(session.seed, "scratch"))
        if spec.target is not None:
            return build(spec.target.model, device=session.device, weights=False).requires_grad_(True)
        if spec.guide is None or job.handed_over:
            rest = copy.deepcopy(job.guide)
            if others := reinitialise(rest):
                session.observer.say(
                    f"scratch: {len(others)} parameters have no initialisation of their own and begin as a "
                    f"permutation of the guide's values: {', '.join(others[:3])}"
                )
        else:
            rest = build(spec.guide.model, device=session.device, weights=False)
    replaced = [part for part in job.plan.parts if part.name not in kept_guide]
    model = hybrid(job.plan, rest, {part.name: random_start(job, part) for part in replaced})
    return model.to(session.device).requires_grad_(True)


@torch.no_grad()
def reinitialise(model: nn.Module) -> list[str]:
    """Initialises every parameter anew, in place, with torch's own way for its module.

    Modules without one of their own keep the distribution of their values and nothing else of them: they are
    permuted.

    Returns:
        The names of the permuted parameters.
    """
    reset: set[int] = set()
    for module in model.modules():
        own = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if callable(own):
            own()
            reset |= {id(p) for p in module.parameters(recurse=False)}
    others: list[str] = []
    for name, parameter in model.named_parameters():
        if id(parameter) not in reset:
            order = torch.randperm(parameter.numel()).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
            others.append(name)
    return others
