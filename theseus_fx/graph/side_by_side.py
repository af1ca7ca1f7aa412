"""Programs of two networks that share nothing but their inputs: each cut down to its own taps."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import fx, nn

from theseus_fx.graph.program import StageOutputs
from theseus_fx.graph.sliced import sliced
from theseus_fx.graph.trace import Trace


class SideBySide(nn.Module):
    """The taps of a guide and of a target network; made by `side_by_side`."""

    def __init__(self, guide: fx.GraphModule, target: fx.GraphModule, trained: Sequence[str]) -> None:
        super().__init__()
        self.guide = guide
        self.target = target
        self._trained = tuple(trained)
        self.train()

    def forward(self, *inputs: torch.Tensor) -> StageOutputs:
        """The taps for the inputs, which both networks take in the order of their traces."""
        with torch.no_grad():
            guide_taps = tuple(self.guide(*inputs))
        return StageOutputs(guide_taps, tuple(self.target(*inputs)), None, None)

    def train(self, mode: bool = True) -> SideBySide:
        """Sets the mode of the target's modules that are trained; all others are in eval mode always."""
        self.training = mode
        self.guide.eval()
        self.target.eval()
        for path in self._trained:
            self.target.get_submodule(path).train(mode)
        return self


def side_by_side(
    guide: tuple[Trace, nn.Module],
    target: tuple[Trace, nn.Module],
    *,
    guide_taps: Sequence[str],
    target_taps: Sequence[str],
    trained: Collection[str],
) -> SideBySide:
    """The program of one stage of a target that is a network of its own.

    The guide runs without gradients, up to its last tap; the target up to its own. Which parameters of the
    target require a gradient is the caller's affair: where none upstream does, no autograd graph is built.

    A module of the target that is called in a trained node is in train mode, with everything that this means:
    dropout drops, and BatchNorm normalises by the batch and updates its statistics. This differs from the
    guide's BatchNorm, whose statistics come from its training: those of a target that begins fresh are mean 0
    and variance 1, which says nothing of the data, and a frozen one would be no normalisation at all. Blocks
    that this stage does not train are held fixed: they normalise by the statistics that their own stage has
    gathered, or that they came with.

    Args:
        guide: its trace and itself.
        target: likewise.
        guide_taps: nodes of the guide whose values are compared.
        target_taps: nodes of the target, one for each.
        trained: nodes of the target whose modules are trained.
    """
    of_target = sliced(*target, target_taps)
    paths = [
        str(node.target)
        for node in of_target.graph.nodes
        if node.op == "call_module" and node.name in trained
    ]
    return SideBySide(sliced(*guide, guide_taps), of_target, list(dict.fromkeys(paths)))
