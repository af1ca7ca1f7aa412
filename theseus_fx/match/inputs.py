"""The inputs of a part, by the parameters of the module's `forward`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from theseus_fx.graph.trace import ModuleCall, Trace
from theseus_fx.graph.values import ValueInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class PartInput:
    """One tensor that flows into a part."""

    name: str
    """`hidden_states`, `position_embeddings.0`."""
    node: str
    """The graph node whose value it is."""
    value: ValueInfo

    def as_json(self) -> dict[str, Any]:
        dtype = str(self.value.dtype).removeprefix("torch.")
        return {"name": self.name, "node": self.node, "dtype": dtype, "shape": list(self.value.shape)}


def inputs_of(call: ModuleCall, trace: Trace) -> tuple[PartInput, ...]:
    """The tensors that flow into a call, in the order of the parameters of `forward`."""
    return tuple(
        PartInput(name=entry.name, node=entry.node, value=trace.value(entry.node)) for entry in call.arguments
    )


def input_names(inputs: Sequence[PartInput]) -> Mapping[str, object]:
    """What `part.inputs` means in a rule: `part.inputs.mask.shape`, `part.inputs.positions[0].rank`."""
    return nested({entry.name: value_names(entry.value) for entry in inputs})


def nested(values: Mapping[str, object]) -> Mapping[str, object]:
    """Values by dotted parameter as mappings and tuples: `positions.0` becomes entry 0 of `positions`."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *way, last = name.split(".")
        branch = tree
        for step in way:
            branch = branch.setdefault(step, {})
        branch[last] = value
    return {name: _listed(branch) for name, branch in tree.items()}


def value_names(value: ValueInfo) -> dict[str, object]:
    """What a value has in a rule: `shape`, `rank`; where they mean something, `features` and `channels`."""
    names: dict[str, object] = {"shape": value.shape, "rank": len(value.shape)}
    if all(isinstance(size, int) for size in value.shape[1:]):
        names["features"] = value.features
    if len(value.shape) > 1:
        names["channels"] = value.shape[1]
    return names


def _listed(branch: Any) -> object:
    """Branches with numbers as names become tuples; none stands for what is no tensor or was there before."""
    if not isinstance(branch, dict) or "shape" in branch:
        return branch  # pyright: ignore[reportUnknownVariableType]
    entries: dict[str, object] = {str(key): _listed(value) for key, value in branch.items()}  # pyright: ignore
    if not all(key.isdigit() for key in entries):
        return entries
    return tuple(entries.get(str(index)) for index in range(1 + max(map(int, entries))))
