"""Programs of parts that the guide feeds: one pass of the guide, then every part by itself.

A part reads what flows into it in the guide, so nothing of the target but the parts themselves is run, and
no part can see another. Stages that train different parts share the guide's pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from theseus_fx.graph.program import StageOutputs
from theseus_fx.graph.sliced import sliced
from theseus_fx.graph.slices import Compared, Inside, Placement
from theseus_fx.graph.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class FedStage:
    """What one stage compares, and the parts that it trains."""

    replacements: Mapping[str, Placement]
    """By the output node of the part that each replaces."""
    taps: tuple[Compared, ...]
    """Each of a value of one of these parts."""

    def __post_init__(self) -> None:
        if strange := [tap.target_node for tap in self.taps if tap.target_node not in self.replacements]:
            raise ValueError(f"`{strange[0]}` is not replaced, so the target has no value there")


class FedProgram(nn.Module):
    """Stages whose parts read the guide's values, over one pass of the guide; made by `fed_program`."""

    def __init__(self, guide: nn.Module, nodes: Sequence[str], stages: Sequence[FedStage]) -> None:
        super().__init__()
        self.guide = guide
        self.replacements = nn.ModuleList(p.module for stage in stages for p in stage.replacements.values())
        self._nodes = tuple(nodes)
        self._stages = tuple(stages)
        self.train()

    @property
    def trained(self) -> tuple[nn.Module, ...]:
        """The replacements, all of which are trained, as they are called."""
        return tuple(self.replacements)

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """Modules that can be computed again: each replacement."""
        return self.trained

    def forward(
        self, *inputs: Tensor, before: Callable[[int], object] | None = None
    ) -> tuple[StageOutputs, ...]:
        """The outputs of each stage.

        Args:
            inputs: in the order of the trace.
            before: called with the index of each stage before its parts run.
        """
        with torch.no_grad():
            values = dict(zip(self._nodes, self.guide(*inputs), strict=True))
        return tuple(self._outputs(values, before))

    def _outputs(
        self, values: Mapping[str, Tensor], before: Callable[[int], object] | None
    ) -> Iterator[StageOutputs]:
        for index, stage in enumerate(self._stages):
            if before is not None:
                before(index)
            target = _run(stage.replacements, values)
            yield StageOutputs(
                guide_taps=tuple(values[tap.guide] for tap in stage.taps),
                target_taps=tuple(target[tap.target] for tap in stage.taps),
                guide_logits=None,
                target_logits=None,
            )

    def train(self, mode: bool = True) -> FedProgram:
        """Sets the mode of the replacements; everything of the guide is in eval mode always."""
        self.training = mode
        self.guide.eval()
        self.replacements.train(mode)
        return self


def fed_program(trace: Trace, guide: nn.Module, stages: Sequence[FedStage]) -> FedProgram:
    """The program of stages whose parts read the guide's values.

    The guide runs once, without gradients and no further than the last value that a part reads or a stage
    compares. `requires_grad` is turned on in all replacements.

    Args:
        trace: of the guide.
        guide: the real model; its modules and parameters are used, not copied.
        stages: what each compares; a replacement must not write to its inputs in place.
    """
    wanted: dict[str, None] = {}
    for stage in stages:
        for placement in stage.replacements.values():
            wanted |= dict.fromkeys(placement.inputs)
            placement.module.requires_grad_(True)
        wanted |= dict.fromkeys(tap.guide for tap in stage.taps)
    return FedProgram(sliced(trace, guide, list(wanted)), list(wanted), stages)


def _run(replacements: Mapping[str, Placement], values: Mapping[str, Tensor]) -> dict[str | Inside, Tensor]:
    """The values of the parts, each computed from the guide's."""
    found: dict[str | Inside, Tensor] = {}
    for node, placement in replacements.items():
        output = placement.module(*(values[name] for name in placement.inputs))
        if not placement.values:
            found[node] = output
            continue
        found[node] = output[0]
        found |= {Inside(node, name): x for name, x in zip(placement.values, output[1:], strict=True)}
    return found
