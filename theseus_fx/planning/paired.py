"""What a plan holds of a target that is a network of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from theseus_fx.graph.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSide:
    """One network's half of a pair; sizes are of all that its tap needs and no earlier tap does."""

    blocks: tuple[str, ...]
    """Names of the blocks in the window, in order."""
    node: str
    """The graph node of the last one's output: the tap."""
    shape: tuple[int | str, ...]
    parameters: int
    flops: int
    """Forward FLOPs of one sample; a multiply-add is two."""

    def as_json(self) -> dict[str, Any]:
        return {
            "blocks": list(self.blocks),
            "node": self.node,
            "shape": list(self.shape),
            "parameters": self.parameters,
            "flops": self.flops,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A window of the guide's blocks, and what of the target is trained to represent the same."""

    name: str
    """`block[3]`."""
    pair: str
    """The sentence of the spec."""
    guide: PairSide
    target: PairSide
    trains: tuple[str, ...]
    """`state_dict` names of the target's parameters between the previous tap and its own; the stem goes with
    the first pair."""
    copies: tuple[tuple[str, str], ...] = ()
    """Paths of target blocks that begin as a copy, each with the guide's block that it is a copy of."""

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "pair": self.pair,
            "guide": self.guide.as_json(),
            "target": self.target.as_json(),
            "trains": list(self.trains),
            **({"copies": [list(both) for both in self.copies]} if self.copies else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetNetwork:
    """The target as a whole."""

    name: str
    """In the spec."""
    model: str
    """`torchvision.resnet18`."""
    trace: Trace
    fingerprint: str
    head: tuple[str, ...]
    """Paths of the modules with parameters that no tap needs: only fine-tuning trains them."""
    head_parameters: int
    copies: tuple[str, ...] = ()
    """Names of tensors outside of all blocks that begin as the guide's of the same name and shape."""

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "head": {"modules": list(self.head), "parameters": self.head_parameters},
            **({"copies": list(self.copies)} if self.copies else {}),
        }
