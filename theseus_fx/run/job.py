"""A conversion with everything at hand that its units share: the plan, the data, the frozen guide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from theseus_fx.data.order import stable_seed
from theseus_fx.data.source import Batch, DataSource, Split
from theseus_fx.data.tasks import Objective
from theseus_fx.graph.structure import main_tensor
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.spec import LossTerm
from theseus_fx.planning.plan import Plan
from theseus_fx.run.hybrid import hybrid
from theseus_fx.run.session import Session
from theseus_fx.similarity import distillation_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the units of one run work with."""

    plan: Plan
    session: Session
    source: DataSource
    task: Objective
    guide: nn.Module
    """On the session's device, in eval mode, no parameter requires a gradient."""

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
        """The task's metric over a split; the model is used in eval mode and left as it was."""
        was_training = model.training
        model.eval()
        value, _ = self.task.evaluate(partial(logits_of, model), self.batches(split))
        model.train(was_training)
        return value

    def hybrid(self, parts: Mapping[str, nn.Module]) -> nn.Module:
        """An ordinary model: the guide with the given parts replaced, sharing no parameter with either."""
        return hybrid(self.plan, self.guide, parts).to(self.session.device)

    def loss(self, terms: tuple[LossTerm, ...], logits: Tensor, batch: Batch) -> Tensor:
        """The weighted sum of the task loss and the distillation terms, a scalar."""
        total = logits.new_zeros(())
        for term in terms:
            if term.kind == "cross_entropy":
                value = self.task.loss(logits, batch.labels)
            else:
                with torch.no_grad():
                    guide = logits_of(self.guide, *batch.inputs)
                value = distillation_loss(logits, guide, term.temperature)
            total = total + term.weight * value
        return total


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
