"""What a stage trains on: the plan's metric, rows and weights as a function of its taps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from theseus_fx.graph.program import StageOutputs
from theseus_fx.lang.spec import Metric
from theseus_fx.lang.spec_stages import Rows
from theseus_fx.planning.plan import Stage
from theseus_fx.similarity import Cka, Dmnn, distillation_loss, mse_loss, tap_losses, token_rows

TapLosses = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
"""The losses (taps,) of the target's values against the guide's, with a gradient to the target's."""

SIMILARITIES = ("cka", "ucka")
"""Metrics whose loss is 1 - a similarity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLoss:
    """The loss of one stage (Network of Theseus, eq. 2): the weighted mean over its taps."""

    names: tuple[str, ...]
    """Of the taps."""
    weights: Tensor | None
    """(taps,), float64, with the sum 1; None: all alike."""
    compare: TapLosses
    measure: str
    """What `values` are: `similarity`, or the metric, of which less is better."""

    @classmethod
    def of(cls, stage: Stage, device: torch.device) -> StageLoss:
        """The loss that a planned stage trains on."""
        metric, weights = stage.alignment.metric, [tap.weight for tap in stage.taps]
        given = torch.tensor(weights, dtype=torch.float64, device=device)
        return cls(
            names=tuple(tap.name for tap in stage.taps),
            weights=None if len(set(weights)) == 1 else given / given.sum(),
            compare=metric_losses(metric, stage.alignment.rows),
            measure="similarity" if metric.name in SIMILARITIES else metric.name,
        )

    def __call__(self, outputs: StageOutputs) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss, a scalar with a gradient, and what each tap says, by name and without one."""
        losses = self.compare(outputs.target_taps, outputs.guide_taps)  # (taps,)
        loss = losses.mean() if self.weights is None else (self.weights * losses).sum()
        told = losses.detach()
        told = 1 - told if self.measure == "similarity" else told
        return loss, dict(zip(self.names, told, strict=True))


def metric_losses(metric: Metric, rows: Rows) -> TapLosses:
    """The losses of taps by a metric of the language, over samples or tokens.

    Raises:
        ValueError: the language has a metric that is not known here.
    """
    arguments = cast("Mapping[str, Any]", metric.arguments)
    match metric.name:
        case "cka":
            losses: TapLosses = partial(tap_losses, metric=Cka())
        case "ucka":
            losses = partial(tap_losses, metric=Cka(unbiased=True))
        case "dmnn":
            losses = partial(tap_losses, metric=Dmnn(**arguments))
        case "mse":
            losses = partial(_one_by_one, loss=mse_loss)
        case "distill":
            losses = partial(_one_by_one, loss=partial(distillation_loss, **arguments))
        case _:
            raise ValueError(f"there is no loss for the metric `{metric.name}`")
    return losses if rows.kind == "samples" else partial(_of_tokens, losses=losses, at_most=rows.at_most)


def _one_by_one(
    targets: Sequence[Tensor], guides: Sequence[Tensor], *, loss: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    return torch.stack([loss(a, b) for a, b in zip(targets, guides, strict=True)])


def _of_tokens(
    targets: Sequence[Tensor], guides: Sequence[Tensor], *, losses: TapLosses, at_most: int | None
) -> Tensor:
    return losses([token_rows(a, at_most) for a in targets], [token_rows(b, at_most) for b in guides])
