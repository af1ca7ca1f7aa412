"""What the stages build, whether it is the guide with parts replaced or a network of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

from theseus_fx.graph.program import StageOutputs, StageProgram
from theseus_fx.graph.side_by_side import SideBySide
from theseus_fx.planning.plan import Stage


class Programs(Protocol):
    """Guide and target of some stages on a batch, as a module in train mode."""

    def __call__(
        self, *inputs: Tensor, before: Callable[[int], object] | None = None
    ) -> tuple[StageOutputs, ...]:
        """What each stage compares; `before` is called with the index of a stage before its parts run."""
        ...

    @property
    def trained(self) -> Sequence[nn.Module]:
        """The modules that are trained."""
        ...

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Modules, as they are called, whose activations need not be kept for the backward pass."""
        ...

    def eval(self) -> Programs:
        """The same in eval mode."""
        ...

    def train(self) -> Programs:
        """The same in train mode."""
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

    def give_back(self, stage: Stage) -> None:
        """Puts the guide's parts in the place of those that no earlier stage trains, for good."""
        ...

    def after(self, stage: Stage) -> nn.Module | None:
        """The model as it is once the stage is over, where it can be used already."""
        ...

    def model(self) -> nn.Module:
        """The whole model, an ordinary one, which shares no parameter with the guide."""
        ...


class OneStage(nn.Module):
    """A program of one stage as `Programs`."""

    def __init__(self, stage: StageProgram | SideBySide) -> None:
        super().__init__()
        self.stage = stage

    @property
    def trained(self) -> Sequence[nn.Module]:
        return self.stage.trained

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return self.stage.blocks

    def forward(
        self, *inputs: Tensor, before: Callable[[int], object] | None = None
    ) -> tuple[StageOutputs, ...]:
        """The outputs of the one stage."""
        if before is not None:
            before(0)
        return (self.stage(*inputs),)
