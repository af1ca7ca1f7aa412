"""A replacement as a value: the steps with every size computed and wired, from which the module is made.

A recipe is what the plan shows, what `architecture.json` stores and what the closed-form start inspects.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from theseus_fx.lang.code import Code
from theseus_fx.lang.spec import AutoRank
from theseus_fx.models import from_python
from theseus_fx.models.from_python import load_class
from theseus_fx.modules.functions import FUNCTIONS
from theseus_fx.modules.wired import Tapped, Wire, Wired

Argument = int | float | bool | str | None | tuple["Argument", ...]

PRIMARY = "in"
"""The name of the value that flows into the part; its other inputs have the names of parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: a class of `torch.nn` or a function of `FUNCTIONS`, with all its arguments by name."""

    kind: str
    """`Linear`, `flatten`."""
    arguments: Mapping[str, Argument]
    inputs: tuple[Wire, ...]
    """The values that flow in, in the order of the module's `forward`."""
    code: Code | None = None
    """Where the class is one of a person's own Python file."""

    def make(self) -> nn.Module:
        """The module, on the current default device."""
        if self.code is not None:
            return load_class(self.code)(**self.arguments)
        maker = FUNCTIONS[self.kind] if self.kind in FUNCTIONS else getattr(nn, self.kind)
        module: nn.Module = maker(**self.arguments)
        return module

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={_shown(value)}" for name, value in self.arguments.items())
        return f"{self.kind}({inside})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Steps in an order in which each finds its inputs computed."""

    name: str
    """As the spec calls it: `LowRankLinear`, or the class names of a chain."""
    steps: tuple[Step, ...]
    output: Wire
    """The value that takes the place of the part's output."""
    dtype: torch.dtype = torch.float32
    """Of its parameters: floating point."""
    values: Mapping[str, Wire] = field(default_factory=dict[str, Wire])
    """Values inside of it that are compared with values of the guide's part, by name."""
    shapes: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict[str, tuple[int | str, ...]])
    """Of these values, with the word `batch` where the batch is."""
    budgets: frozenset[AutoRank] = frozenset()
    """The `auto(...)` that sizes of it follow from; a run chooses them, and a recipe as JSON has none."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs of the part that it uses, in the order in which the module takes them."""
        wires = [*(wire for step in self.steps for wire in step.inputs), self.output, *self.values.values()]
        used = dict.fromkeys(wire for wire in wires if isinstance(wire, str))
        return tuple(sorted(used, key=lambda name: name != PRIMARY)) or (PRIMARY,)

    @property
    def chain(self) -> bool:
        """Whether each step takes what the one before it returns, and nothing else."""
        wires: list[Wire] = [PRIMARY, *range(len(self.steps))]
        flow = all(step.inputs == (wire,) for step, wire in zip(self.steps, wires, strict=False))
        return flow and self.output == wires[-1] and self.inputs == (PRIMARY,)

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

    def make(self, *, device: torch.device | str = "cpu", seed: int | None = None) -> nn.Module:
        """The module, with torch's own initialisation: an `nn.Sequential`, or `Wired`.

        Args:
            device: where its parameters live; `meta` costs no memory.
            seed: seeds the initialisation, which happens on the CPU so that it is the same for every
                device; the global generators are left as they were. None: the global generator is used.

        Returns:
            A module that takes the values of `inputs` by position and returns one tensor.
        """
        if seed is None or torch.device(device).type == "meta":
            with torch.device(device):
                return self._make()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            with torch.device("cpu"):
                module = self._make()
        return module.to(device)

    def _make(self) -> nn.Module:
        children = OrderedDict(zip(self.child_names(), (step.make() for step in self.steps), strict=True))
        module = (
            nn.Sequential(children)
            if self.chain
            else Wired(children, self.inputs, tuple(step.inputs for step in self.steps), self.output)
        )
        return module.to(self.dtype)

    def tapped(self, module: nn.Module) -> nn.Module:
        """A module made of this recipe as one that returns the named `values` beside its output.

        Returns:
            A module over the same parameters and children, which returns a tuple: the output, then `values`.
        """
        wires = tuple(step.inputs for step in self.steps)
        return Tapped(module, self.inputs, wires, (self.output, *self.values.values()))

    def parameter_count(self) -> int:
        """How many parameters the module has."""
        return sum(p.numel() for p in self.make(device="meta").parameters())

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; `Recipe.from_json` reads them back."""
        return {
            "name": self.name,
            "dtype": str(self.dtype).removeprefix("torch."),
            "steps": [
                {
                    "kind": step.kind,
                    "arguments": {key: _plain(value) for key, value in step.arguments.items()},
                    "inputs": list(step.inputs),
                    **({} if step.code is None else {"code": from_python.as_json(step.code)}),
                }
                for step in self.steps
            ],
            "output": self.output,
            **({"values": self._values_json()} if self.values else {}),
        }

    def _values_json(self) -> dict[str, Any]:
        return {name: {"wire": wire, "shape": list(self.shapes[name])} for name, wire in self.values.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Recipe:
        """The inverse of `as_json`."""
        steps = tuple(
            Step(
                kind=s["kind"],
                arguments={k: _frozen(v) for k, v in s["arguments"].items()},
                inputs=tuple(s["inputs"]),
                code=from_python.from_json(s["code"]) if "code" in s else None,
            )
            for s in value["steps"]
        )
        named = value.get("values", {})
        return cls(
            name=value["name"],
            steps=steps,
            output=value["output"],
            dtype=getattr(torch, value["dtype"]),
            values={name: entry["wire"] for name, entry in named.items()},
            shapes={name: tuple(entry["shape"]) for name, entry in named.items()},
        )

    def __str__(self) -> str:
        if self.chain:
            return " |> ".join(map(str, self.steps)) or "identity()"
        names = dict[Wire, str](enumerate(self.child_names()))
        lines = [
            f"{names[index]} = {step} of {', '.join(names.get(wire, str(wire)) for wire in step.inputs)}"
            for index, step in enumerate(self.steps)
        ]
        return "; ".join([*lines, f"return {names.get(self.output, str(self.output))}"])


def _plain(value: Argument) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _frozen(value: Any) -> Argument:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def _shown(value: Argument) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_shown(v) for v in value)})"
    return str(value)
