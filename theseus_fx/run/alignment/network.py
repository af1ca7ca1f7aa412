"""A target that is a network of its own, trained block by block."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from theseus_fx.data.order import stable_seed
from theseus_fx.graph.fingerprint import fingerprint
from theseus_fx.graph.regions import Regions, regions
from theseus_fx.graph.side_by_side import side_by_side
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import Target
from theseus_fx.models.resolve import build
from theseus_fx.planning.paired import TargetNetwork
from theseus_fx.planning.plan import Stage
from theseus_fx.run.alignment.construction import OneStage, Programs
from theseus_fx.run.job import Job
from theseus_fx.run.start import fill


@dataclass(slots=True)
class Network:
    """The target of a spec that has one; it is whole from the beginning, and no hybrid with the guide."""

    job: Job
    target: TargetNetwork
    module: nn.Module
    regions: Regions
    """The target cut at the taps of its pairs, in the order of the plan's."""

    @classmethod
    def of(cls, job: Job, target: TargetNetwork, sentence: Target, *, copies: bool) -> Network:
        """The network as its `target` sentence builds it; random weights come from the run's seed.

        Args:
            job: the run.
            target: the planned network.
            sentence: what builds it.
            copies: whether the blocks that the plan copies from the guide do begin as copies.

        Raises:
            Rejected: THX505 where it is another network than the one that was planned; whatever is wrong with
                its weights.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stable_seed(job.session.seed, "target"))
            module = build(sentence.model, device=job.session.device, weights=True)
        if fingerprint(target.trace, module) != target.fingerprint:
            raise Rejected(
                Diagnostic(
                    code="THX505",
                    message=f"`{target.model}` with its weights is another network than the one planned",
                    primary=Label(sentence.span, "its parameters have other shapes or settings"),
                    help=("plan again now that its configuration is on this machine",),
                )
            )
        if copies:
            _copy(job, target, module)
        cut = regions(target.trace, module, [pair.target.node for pair in job.plan.pairs])
        return cls(job, target, module, cut)

    def begin(self, stage: Stage) -> None:
        """Nothing is introduced: all of it is there."""

    def parameters(self, stage: Stage) -> list[nn.Parameter]:
        names = [name for pair in self.job.plan.pairs if pair.name in stage.trains for name in pair.trains]
        return [self.module.get_parameter(name) for name in names]

    def programs(self, stages: Sequence[Stage]) -> Programs:
        (stage,) = stages
        self.module.requires_grad_(False)
        for parameter in self.parameters(stage):
            parameter.requires_grad_(True)
        pairs = self.job.plan.pairs
        nodes = {pair.name: pair.target.node for pair in pairs}
        cut = zip(pairs, self.regions.of_taps, strict=True)
        program = side_by_side(
            (self.job.plan.trace, self.job.guide),
            (self.target.trace, self.module),
            guide_taps=[tap.node for tap in stage.taps],
            target_taps=[self.target.trace.output if t.part is None else nodes[t.part] for t in stage.taps],
            trained=frozenset(name for pair, r in cut if pair.name in stage.trains for name in r.nodes),
            blocks=[r.nodes for r in self.regions.of_taps] if stage.alignment.compute.checkpointing else (),
        )
        return OneStage(program)

    def state(self) -> dict[str, Tensor]:
        return self.module.state_dict()

    def load(self, state: Mapping[str, Tensor], begun: Sequence[Stage]) -> None:
        self.module.load_state_dict(dict(state))

    def give_back(self, stage: Stage) -> None:
        """Raises ValueError: the checker lets no gate of such a spec ask for it."""
        raise ValueError(f"stage {stage.number} trains a network of its own, which has no part of the guide")

    def after(self, stage: Stage) -> None:
        """Nothing can be asked of it before its head is trained, which no tap needs."""

    def model(self) -> nn.Module:
        return copy.deepcopy(self.module)


@torch.no_grad()
def _copy(job: Job, target: TargetNetwork, module: nn.Module) -> None:
    """Fills what the plan copies; it has compared the shapes."""
    for own, other in [both for pair in job.plan.pairs for both in pair.copies]:
        fill(module.get_submodule(own), job.guide.get_submodule(other))
    theirs, ours = job.guide.state_dict(), module.state_dict()
    for name in target.copies:
        ours[name].copy_(theirs[name])
