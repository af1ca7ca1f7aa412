"""A replacement as a value: the steps with every size computed, from which the module is made.

A recipe is what the plan shows, what `architecture.json` stores and what the closed-form start inspects.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from theseus_fx.modules.functions import FUNCTIONS, RESHAPING

Argument = int | float | bool | str | None | tuple["Argument", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: a class of `torch.nn` or a function of `FUNCTIONS`, with all its arguments by name."""

    kind: str
    """`Linear`, `flatten`."""
    arguments: Mapping[str, Argument]

    def make(self) -> nn.Module:
        """The module, on the current default device."""
        maker = FUNCTIONS[self.kind] if self.kind in FUNCTIONS else getattr(nn, self.kind)
        module: nn.Module = maker(**self.arguments)
        return module

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={_shown(value)}" for name, value in self.arguments.items())
        return f"{self.kind}({inside})"


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRankForm:
    """A recipe that reads: reshaping, `Linear(bias = false)`, `Linear`, reshaping."""

    first: str
    """The name of the child that maps the flattened input to the rank."""
    second: str
    """The name of the child that maps the rank to the output."""
    d_in: int
    rank: int
    d_out: int
    bias: bool
    """Whether the second map has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A chain of steps; data flows from the first to the last."""

    name: str
    """As the spec calls it: `LowRankLinear`, or the class names of a chain."""
    steps: tuple[Step, ...]
    dtype: torch.dtype = torch.float32
    """Of its parameters: floating point."""

    def child_names(self) -> tuple[str, ...]:
        """The names of the steps as children of the module: `flatten`, `linear_1`, `linear_2`, `reshape`."""
        kinds = [step.kind.lower() for step in self.steps]
        total = Counter(kinds)
        seen: Counter[str] = Counter()
        names: list[str] = []
        for kind in kinds:
            seen[kind] += 1
            names.append(kind if total[kind] == 1 else f"{kind}_{seen[kind]}")
        return tuple(names)

    def make(self, *, device: torch.device | str = "cpu", seed: int | None = None) -> nn.Sequential:
        """The module, with torch's own initialisation.

        Args:
            device: where its parameters live; `meta` costs no memory.
            seed: seeds the initialisation, which happens on the CPU so that it is the same for every
                device; the global generators are left as they were. None: the global generator is used.
        """
        if seed is None or torch.device(device).type == "meta":
            with torch.device(device):
                return self._make()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            with torch.device("cpu"):
                module = self._make()
        return module.to(device)

    def _make(self) -> nn.Sequential:
        children = zip(self.child_names(), self.steps, strict=True)
        return nn.Sequential(OrderedDict((name, step.make()) for name, step in children)).to(self.dtype)

    def parameter_count(self) -> int:
        """How many parameters the module has."""
        return sum(p.numel() for p in self.make(device="meta").parameters())

    def low_rank_form(self) -> LowRankForm | None:
        """Where the two linear maps are, if the recipe has the form that a low-rank fit solves."""
        names = self.child_names()
        linear = [i for i, step in enumerate(self.steps) if step.kind == "Linear"]
        rest = [step for step in self.steps if step.kind != "Linear"]
        if len(linear) != 2 or linear[1] != linear[0] + 1 or any(s.kind not in RESHAPING for s in rest):
            return None
        first, second = self.steps[linear[0]], self.steps[linear[1]]
        if first.arguments.get("bias", True):
            return None
        return LowRankForm(
            first=names[linear[0]],
            second=names[linear[1]],
            d_in=_size(first, "in_features"),
            rank=_size(first, "out_features"),
            d_out=_size(second, "out_features"),
            bias=bool(second.arguments.get("bias", True)),
        )

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; `Recipe.from_json` reads them back."""
        steps = [
            {"kind": s.kind, "arguments": {k: _plain(v) for k, v in s.arguments.items()}} for s in self.steps
        ]
        return {"name": self.name, "dtype": str(self.dtype).removeprefix("torch."), "steps": steps}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Recipe:
        """The inverse of `as_json`."""
        steps = tuple(
            Step(kind=s["kind"], arguments={k: _frozen(v) for k, v in s["arguments"].items()})
            for s in value["steps"]
        )
        return cls(name=value["name"], steps=steps, dtype=getattr(torch, value["dtype"]))

    def __str__(self) -> str:
        return " |> ".join(str(step) for step in self.steps)


def _size(step: Step, name: str) -> int:
    value = step.arguments[name]
    if not isinstance(value, int):
        raise TypeError(f"{name} of a Linear is an int, not {value!r}")
    return value


def _plain(value: Argument) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _frozen(value: Any) -> Argument:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def _shown(value: Argument) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_shown(v) for v in value)})"
    return str(value)
