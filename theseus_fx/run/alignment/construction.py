"""What the stages build, whether it is the guide with parts replaced or a network of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

from theseus_fx.graph.program import StageOutputs
from theseus_fx.planning.plan import Stage


class Programs(Protocol):
    """Guide and target of some stages on a batch, as a module in train mode."""

    def __call__(
        self, *inputs: Tensor, before: Callable[[int], object] | None = None
    ) -> tuple[StageOutputs, ...]:
        """What each stage compares; `before` is called with the index of a stage before its parts run."""
        ...

    def eval(self) -> Programs:
        """The same in eval mode."""
        ...


class Construction(Protocol):
    """A target under construction, changed in place by the stages."""

    def begin(self, stage: Stage) -> None:
        """Introduces what the stage introduces."""
        ...

    def parameters(self, stage: Stage) -> list[nn.Parameter]:
        """What the stage trains; nothing, where all of it is without parameters."""
        ...

    def programs(self, stages: Sequence[Stage]) -> Programs:
        """What the stages run, all else frozen; several stages only where `passes` puts them together."""
        ...

    def state(self) -> dict[str, Tensor]:
        """All that training may have changed, for a checkpoint."""
        ...

    def load(self, state: Mapping[str, Tensor], begun: Sequence[Stage]) -> None:
        """Takes up the state that it had when those stages had begun."""
        ...

    def after(self, stage: Stage) -> nn.Module | None:
        """The model as it is once the stage is over, where it can be used already."""
        ...

    def model(self) -> nn.Module:
        """The whole model, an ordinary one, which shares no parameter with the guide."""
        ...


class OneStage(nn.Module):
    """A program of one stage as `Programs`."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage = stage

    def forward(
        self, *inputs: Tensor, before: Callable[[int], object] | None = None
    ) -> tuple[StageOutputs, ...]:
        """The outputs of the one stage."""
        if before is not None:
            before(0)
        return (self.stage(*inputs),)
