"""A conversion with everything at hand that its units share: the plan, the data, the frozen guide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never

import torch
from torch import Tensor, nn

from theseus_fx.data.evaluation import Evaluation
from theseus_fx.data.order import stable_seed
from theseus_fx.data.source import Batch, DataSource, Split
from theseus_fx.data.tasks import Objective
from theseus_fx.graph.structure import main_tensor
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.spec import LossTerm
from theseus_fx.planning.plan import Plan
from theseus_fx.run.events import Forecast, Silent
from theseus_fx.run.hybrid import hybrid
from theseus_fx.run.session import Session
from theseus_fx.similarity import distillation_loss, mse_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the units of one run work with."""

    plan: Plan
    session: Session
    source: DataSource
    task: Objective
    guide: nn.Module
    """On the session's device, in eval mode, no parameter requires a gradient."""
    handed_over: bool = False
    """Whether the guide was an object of the caller's, which the spec cannot build again."""
    forecast: Forecast = field(default_factory=lambda: Forecast(Silent()))

    def train_batch(self, step: int, *, stream: str) -> Batch:
        """Training batch number `step` of a stream, on the device; equal streams see equal batches."""
        seed = stable_seed(self.session.seed, "batches", stream)
        return _to(self.source.train_batch(step, seed=seed), self.session.device)

    def batches(self, split: Split) -> Iterator[Batch]:
        """The batches of a split in their fixed order, on the device."""
        for batch in self.source.batches(split):
            self.session.heed_stop()
            yield _to(batch, self.session.device)

    def evaluate(self, model: nn.Module, split: Split) -> float:
        """The metric that judges, over a split; the model is used in eval mode and left as it was."""
        return self.judge(model, split).value

    def judge(self, model: nn.Module, split: Split) -> Evaluation:
        """All metrics of the task over a split; the model is used in eval mode and left as it was."""
        was_training = model.training
        model.eval()
        found = self.task.evaluate(partial(logits_of, model), self.batches(split))
        model.train(was_training)
        return found

    def hybrid(self, parts: Mapping[str, nn.Module]) -> nn.Module:
        """An ordinary model: the guide with the given parts replaced, sharing no parameter with either."""
        return hybrid(self.plan, self.guide, parts).to(self.session.device)

    def loss(
        self, terms: tuple[LossTerm, ...], logits: Tensor, labels: Tensor, *, guide: Tensor | None
    ) -> Tensor:
        """The weighted sum of the terms, a scalar.

        Args:
            terms: of the spec.
            logits: of the model.
            labels: of the same samples.
            guide: its logits, which some terms need (`compares_with_guide`).

        Raises:
            ValueError: a term needs the guide's logits, and there are none.
        """
        total = torch.zeros((), device=logits.device)
        for term in terms:
            match term.kind:
                case "task" | "cross_entropy":  # the checker lets only equal ones be
                    value = self.task.loss(logits, labels)
                case "distill":
                    value = distillation_loss(logits, _there(guide), term.temperature)
                case "mse":
                    value = mse_loss(logits, _there(guide))
                case _:
                    assert_never(term.kind)
            total = total + term.weight * value
        return total


def compares_with_guide(terms: Sequence[LossTerm]) -> bool:
    """Whether a loss needs the guide's logits."""
    return any(term.kind in ("distill", "mse") for term in terms)


def _there(guide: Tensor | None) -> Tensor:
    if guide is None:
        raise ValueError("the loss compares with the guide's logits, and there are none")
    return guide


def logits_of(model: nn.Module, *inputs: Tensor) -> Tensor:
    """What a model says of its inputs: its output, or the logits in it.

    Raises `Rejected` THX603 where the output holds no tensor.
    """
    output = main_tensor(model(*inputs))
    if output is None:
        message = f"`{type(model).__name__}` returns no tensor that a loss could be taken of"
        raise Rejected(Diagnostic(code="THX603", message=message))
    return output


def _to(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    inputs = tuple(x.to(device, non_blocking=True) for x in batch.inputs)
    return Batch(inputs=inputs, labels=batch.labels.to(device, non_blocking=True))
