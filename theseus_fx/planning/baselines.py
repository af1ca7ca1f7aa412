"""What `compare` runs beside the conversion, and what each baseline may spend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from theseus_fx.lang.spec import Amount, Compare, LossTerm, Training
from theseus_fx.planning.passes import passes
from theseus_fx.planning.stage_json import amount_json

if TYPE_CHECKING:
    from theseus_fx.planning.plan import Plan

Method = Literal["naive", "random_start", "distillation", "scratch"]

LABELS = (LossTerm(kind="cross_entropy"),)
"""What a network from scratch trains on."""
MIXED = (
    LossTerm(kind="cross_entropy", weight=0.1),
    LossTerm(kind="distill", weight=0.9, temperature=2.0),
)
"""What naive replacements train on besides, where `finetune` does not distil."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """One baseline."""

    name: str
    method: Method
    spends: tuple[Amount, ...]
    """Gradient steps of one candidate, at most one amount for each unit."""
    total: bool
    """Whether these are those of schedule and fine-tuning together, or of fine-tuning alone."""
    candidates: int
    """Between which validation chooses."""
    loss: tuple[LossTerm, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "method": self.method,
            "for": [amount_json(amount) for amount in self.spends],
            "candidates": self.candidates,
        }


def baselines(plan: Plan) -> tuple[Baseline, ...]:
    """The baselines of a plan, in the order in which they run."""
    compare, tune = plan.spec.compare, plan.spec.finetune
    return () if compare is None or tune is None else tuple(_baselines(plan, compare, tune))


def distils(loss: Sequence[LossTerm]) -> bool:
    """Whether a loss compares with the guide's logits."""
    return any(term.kind != "cross_entropy" for term in loss)


def stepping(rates: Sequence[float | None]) -> tuple[float | None, ...]:
    """The candidates that take steps, where there are any."""
    return tuple(rate for rate in rates if rate is not None) or tuple(rates)


def _baselines(plan: Plan, compare: Compare, tune: Training) -> Iterator[Baseline]:
    stages = [stage.alignment for stage in plan.stages]
    together = [stages[0].alignment for stages in passes(plan)]  # which spend their budget once
    own = (tune.budget,)
    whole = _summed([*(stage.budget for stage in together), tune.budget])
    # distillation goes through the whole model, so that it trains each stage alone
    alone = _summed([*(stage.budget for stage in stages), tune.budget])
    rates = len(stepping(tune.lr.candidates) if compare.lr is None else compare.lr.candidates)
    if compare.align_lr is not None:
        stage_rates = len(stepping(compare.align_lr.candidates))
    else:
        stage_rates = max((len(stepping(stage.lr.candidates)) for stage in stages), default=1)

    def baseline(name: str, method: Method, loss: tuple[LossTerm, ...], *, total: bool = True) -> Baseline:
        scheduled = method in ("random_start", "distillation")
        return Baseline(
            name=name,
            method=method,
            spends=own if not total else alone if method == "distillation" else whole,
            total=total,
            candidates=rates * stage_rates if scheduled else rates,
            loss=loss,
        )

    if "naive" in compare.methods:
        yield baseline("naive_equal_finetune", "naive", tune.loss, total=False)
        yield baseline("naive_equal_total", "naive", tune.loss)
        if not distils(tune.loss):
            yield baseline("naive_distilled", "naive", MIXED)
    if "random_start" in compare.methods:
        yield baseline("random_start", "random_start", tune.loss)
    if "distillation" in compare.methods:
        yield baseline("distillation", "distillation", tune.loss)
    if "scratch" in compare.methods:
        yield baseline("scratch", "scratch", LABELS)


def _summed(amounts: Sequence[Amount]) -> tuple[Amount, ...]:
    """One amount for each unit, in the order in which the units come."""
    counts: dict[str, int] = {}
    for amount in amounts:
        counts[amount.unit] = counts.get(amount.unit, 0) + amount.count
    return tuple(Amount(count, unit) for unit, count in counts.items())  # type: ignore[arg-type]
