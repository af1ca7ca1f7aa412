"""Ranks chosen from the spectra of the guide's parts, once, before the first stage."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from theseus_fx.modules.endings import LinearEnding, ending_of
from theseus_fx.modules.fits.ranks import RankCost, spectral_ranks
from theseus_fx.planning.plan import Part
from theseus_fx.planning.ranks import budgets, rank_cost
from theseus_fx.planning.starts import SAMPLES
from theseus_fx.run.fitting.activations import Site
from theseus_fx.run.fitting.linear import spectrum_of
from theseus_fx.run.job import Job
from theseus_fx.run.start import random_start


def choose_ranks(job: Job) -> Mapping[str, int]:
    """The ranks of all parts that the spec leaves to a budget, by name; kept for a run that is resumed.

    Each part's spectrum is that of its fit from the guide's own inputs, which no earlier replacement has
    changed, in the metric of its start.
    """
    found = budgets(job.plan)
    if not found:
        return {}
    unit = job.session.unit("ranks")
    if (done := unit.finished()) is not None:
        return dict(done.facts["ranks"])
    unit.resume()
    ranks: dict[str, int] = {}
    for budget, parts in found.items():
        spectra = {part.name: _spectrum(job, part) for part in parts}
        ranks |= spectral_ranks(spectra, {part.name: _cost(part) for part in parts}, budget.parameters)
    unit.finish({"ranks": ranks}, {})
    shown = ", ".join(f"{name} {rank}" for name, rank in ranks.items())
    job.session.observer.end("ranks", shown)
    return ranks


def _spectrum(job: Job, part: Part) -> Tensor:
    job.session.observer.say(f"spectrum of {part.name} {part.path}")
    ending = ending_of(part.recipe)
    if not isinstance(ending, LinearEnding):
        raise TypeError(f"{part.name} has no rank to choose")  # the planner has refused it
    start = next(s.start for stage in job.plan.stages for s in stage.starts if s.part == part.name)
    site = Site(job=job, part=part, introduced={}, samples=start.samples or SAMPLES)
    metric = start.metric or "plain"
    return spectrum_of(site, random_start(job, part), ending, metric=metric, ridge=start.ridge)


def _cost(part: Part) -> RankCost:
    cost = rank_cost(part.recipe)
    if cost is None:
        raise TypeError(f"{part.name} has no rank to choose")  # the planner has refused it
    return cost
