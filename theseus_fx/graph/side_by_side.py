"""Programs of two networks that share nothing but their inputs: each cut down to its own taps."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import fx, nn
from torch.fx.passes.split_module import split_module

from theseus_fx.graph.program import StageOutputs
from theseus_fx.graph.sliced import sliced
from theseus_fx.graph.trace import Trace


class SideBySide(nn.Module):
    """The taps of a guide and of a target network; made by `side_by_side`."""

    def __init__(
        self,
        guide: fx.GraphModule,
        target: fx.GraphModule,
        trained: Sequence[nn.Module],
        blocks: Sequence[nn.Module],
    ) -> None:
        super().__init__()
        self.guide = guide
        self.target = target
        self.trained = tuple(trained)
        """The target's modules that are trained."""
        self.blocks = tuple(blocks)
        """The blocks of the target that hold these, where they are modules of their own."""
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
        for module in self.trained:
            module.train(mode)
        return self


def side_by_side(
    guide: tuple[Trace, nn.Module],
    target: tuple[Trace, nn.Module],
    *,
    guide_taps: Sequence[str],
    target_taps: Sequence[str],
    trained: Collection[str],
    blocks: Sequence[Collection[str]] = (),
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
        blocks: sets of nodes of the target, none of which needs a value of a later one, that become a module
            of their own each, so that it can be computed again.
    """
    of_target = sliced(*target, target_taps)
    paths = [
        str(node.target)
        for node in of_target.graph.nodes
        if node.op == "call_module" and node.name in trained
    ]
    modules = [of_target.get_submodule(path) for path in dict.fromkeys(paths)]
    if not blocks:
        return SideBySide(sliced(*guide, guide_taps), of_target, modules, ())
    names = {node.name for node in of_target.graph.nodes}
    whole = _in_blocks(of_target, blocks)
    held = [whole.get_submodule(f"submod_{i}") for i, b in enumerate(blocks) if names & {*b} & {*trained}]
    return SideBySide(sliced(*guide, guide_taps), whole, modules, held)


def _in_blocks(network: fx.GraphModule, blocks: Sequence[Collection[str]]) -> fx.GraphModule:
    """The same over the same modules, where the i-th block is the module `submod_i`."""
    number = {name: i for i, block in enumerate(blocks) for name in block}
    return split_module(network, network, lambda node: number.get(node.name, len(blocks)))
