"""Starts that are copies: which tensors of the guide fill a replacement, or a target network's blocks."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import nn

Shapes = Mapping[str, tuple[int, ...]]
"""Of the tensors of a module, by their `state_dict` names."""


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes of a module's tensors, in the order of its `state_dict`."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def unlike(guide: Shapes, own: Shapes, *, own_name: str) -> str | None:
    """Why the guide's tensors do not fill others one by one, in order, if they do not.

    Args:
        guide: of the guide's module.
        own: of what is to be filled.
        own_name: what that is called: `the replacement`.
    """
    theirs, ours = list(guide.values()), list(own.values())
    if len(theirs) != len(ours):
        return f"the guide's part has {_tensors(len(theirs))} and {own_name} {_tensors(len(ours))}"
    pairs = zip(theirs, ours, strict=True)
    at = next((position for position, (a, b) in enumerate(pairs) if a != b), None)
    if at is None:
        return None
    sizes = [" x ".join(map(str, shape[at])) or "scalar" for shape in (theirs, ours)]
    return f"tensor {at + 1} is {sizes[0]} in the guide's part and {sizes[1]} in {own_name}"


def shared(guide: Shapes, target: Shapes, blocks: Collection[str]) -> tuple[str, ...]:
    """Names of tensors that guide and target both have, with equal shapes, outside of the target's blocks."""
    inside = tuple(f"{block}." for block in blocks)
    return tuple(
        name for name, shape in target.items() if guide.get(name) == shape and not name.startswith(inside)
    )


def _tensors(count: int) -> str:
    return "1 tensor" if count == 1 else f"{count} tensors"
