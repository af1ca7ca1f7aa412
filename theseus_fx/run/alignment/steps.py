"""The gradient steps of stages that are trained together: their batches, the values compared, the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theseus_fx.data.order import stable_seed
from theseus_fx.data.source import Batch
from theseus_fx.graph.program import StageOutputs
from theseus_fx.planning.passes import apart
from theseus_fx.planning.plan import Stage
from theseus_fx.run.alignment.construction import Programs
from theseus_fx.run.alignment.losses import StageLoss
from theseus_fx.run.gradients import Work
from theseus_fx.run.job import Job


@dataclass(slots=True)
class Steps:
    """What a gradient step of one pass does, short of the step itself."""

    job: Job
    unit: str
    """Its name, which seeds what is random in a step."""
    stages: tuple[Stage, ...]
    program: Programs
    losses: tuple[StageLoss, ...]
    """One for each stage."""
    step: int = 0
    """Of the last batch."""
    size: int = 0
    """Its samples."""
    first: int = 0
    """The sample in it that `forward` begins with next: a batch may go through in pieces, in order."""

    @classmethod
    def of(cls, job: Job, unit: str, stages: Sequence[Stage], program: Programs) -> Steps:
        """The steps of a pass of stages over their program, which is in train mode."""
        losses = tuple(StageLoss.of(stage, job.session.device) for stage in stages)
        return cls(job, unit, tuple(stages), program, losses)

    @property
    def measure(self) -> str:
        """What the values of `loss` are."""
        return self.losses[0].measure

    def batch(self, step: int) -> Batch:
        """The batch of a 0-based step: that of the stage, or one for all where no stage sees another."""
        stream = "stages" if apart(self.job.plan) else f"stage {self.stages[0].number}"
        batch = self.job.train_batch(step, stream=stream)
        self.step, self.size, self.first = step, len(batch.labels), 0
        return batch

    def forward(self, batch: Batch) -> tuple[Tensor, ...]:
        """The values compared, a row for each sample: of each stage the target's, then the guide's.

        Parts that the guide feeds draw their dropout from a seed of their own stage, so that it does not
        matter with which others they are trained; else the step is seeded as a whole.

        Args:
            batch: that of the step, or the piece of it that follows the last one; all of them may go through
                again.
        """
        outputs = self.program(*batch.inputs, before=self._seed if apart(self.job.plan) else None)
        self.first = (self.first + len(batch.labels)) % self.size
        return tuple(value for one in outputs for value in (*one.target_taps, *one.guide_taps))

    def work(self) -> Work:
        """The same for the loop of gradient steps."""
        return Work(
            batch=self.batch,
            forward=self.forward,
            loss=lambda values, _: self.loss(values),
            modules=self.program.trained,
            is_mean=False,
        )

    def loss(self, values: Sequence[Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of what `forward` returns, a scalar with a gradient, and what each tap says.

        It is the sum over the stages, so that every part gets the gradient that it would get alone.
        """
        left = list(values)
        losses: list[Tensor] = []
        told: dict[str, Tensor] = {}
        for loss in self.losses:
            count = len(loss.names)
            targets, guides, left = left[:count], left[count : 2 * count], left[2 * count :]
            value, of_taps = loss(StageOutputs(tuple(guides), tuple(targets), None, None))
            losses.append(value)
            told |= of_taps
        return (losses[0] if len(losses) == 1 else torch.stack(losses).sum()), told

    def _seed(self, index: int) -> None:
        name = f"stage {self.stages[index].number}"
        torch.manual_seed(stable_seed(self.job.session.seed, self.unit, name, self.step, self.first))
