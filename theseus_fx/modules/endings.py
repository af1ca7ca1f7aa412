"""How a replacement ends, which decides what closed-form start there is for it.

Most replacements are affine in the output of their last linear map: output = scale * moved(map) + rest, where
`moved` only puts values in other places and `rest` does not depend on the map. So the map can be solved for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from theseus_fx.modules.functions import MOVING
from theseus_fx.modules.recipe import Argument, Recipe, Step, Wire

UNCHANGING = MOVING | {"Dropout", "Flatten", "Identity", "Unflatten"}
"""Steps that in eval mode put every value of a sample somewhere, and change none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearEnding:
    """A recipe whose output is affine in the output of a linear map."""

    name: str
    """Of the child: `Linear`, or a `Conv2d` of kernel size 1, which is the same map at each position."""
    moves: tuple[Step, ...]
    """What comes after the map and only moves values, in the order in which it is applied."""
    scale: float
    """What the map's values are multiplied by."""
    d_in: int
    d_out: int
    bias: bool
    first: str | None = None
    """The child that alone feeds the map and is linear too, which together are one map of low rank."""
    rank: int | None = None
    """The width between these two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ElmanEnding:
    """A recipe that is an Elman network (tanh) of one or two layers and returns its sequence."""

    name: str
    """Of the child."""
    layers: int
    d_in: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NoEnding:
    """A recipe that nothing closed-form is known for."""

    reason: str
    """`it ends in `relu`, not in a linear map`."""


Ending = LinearEnding | ElmanEnding | NoEnding


def ending_of(recipe: Recipe) -> Ending:
    """How a recipe ends."""
    found = _elman(recipe) or _linear(recipe, recipe.output, _uses(recipe))
    return found if isinstance(found, ElmanEnding | NoEnding) else found.ending(recipe)


def at_rank(recipe: Recipe, rank: int) -> Recipe:
    """The recipe with another width between the two linear maps that it ends in."""
    ending = ending_of(recipe)
    if not isinstance(ending, LinearEnding) or ending.first is None:
        raise ValueError(f"{recipe.name} does not end in two linear maps")
    names = recipe.child_names()
    sizes = {names.index(ending.first): "out_features", names.index(ending.name): "in_features"}
    steps = tuple(
        replace(step, arguments={**step.arguments, sizes[index]: rank}) if index in sizes else step
        for index, step in enumerate(recipe.steps)
    )
    return replace(recipe, steps=steps)


def put_back(y: Tensor, moves: Sequence[Step], shape: Sequence[int]) -> Tensor:
    """What a map would have to return, (b, *shape), for its moved values to be y, (b, ...)."""
    moved = nn.Sequential(*(step.make() for step in moves)).eval()
    numbers = torch.arange(math.prod(shape)).reshape(1, *shape)
    places = moved(numbers).flatten().to(y.device)
    values = torch.empty_like(y.flatten(1))
    values[:, places] = y.flatten(1)
    return values.reshape(y.shape[0], *shape)


def as_rows(x: Tensor, map_: nn.Module) -> Tensor:
    """What flows into or out of a linear map with its features last, (rows, features)."""
    return (x.movedim(1, -1) if isinstance(map_, nn.Conv2d) else x).flatten(0, -2)


def strided(x: Tensor, map_: nn.Module) -> Tensor:
    """Of what flows into a linear map, the positions that it looks at."""
    if isinstance(map_, nn.Conv2d):
        rows, columns = map_.stride
        return x[:, :, :: int(rows), :: int(columns)]
    return x


@dataclass(frozen=True, slots=True)
class _Found:
    """A linear map on the way back from the output."""

    index: int
    moves: tuple[Step, ...]
    scale: float

    def ending(self, recipe: Recipe) -> LinearEnding:
        step, names = recipe.steps[self.index], recipe.child_names()
        d_in, d_out = _sizes(step)
        first = step.inputs[0]
        low_rank = (
            isinstance(first, int)
            and step.kind == "Linear"
            and recipe.steps[first].kind == "Linear"
            and _uses(recipe)[first] == 1
        )
        return LinearEnding(
            name=names[self.index],
            moves=self.moves,
            scale=self.scale,
            d_in=_sizes(recipe.steps[first])[0] if low_rank and isinstance(first, int) else d_in,
            d_out=d_out,
            bias=step.arguments.get("bias", True) is not False,
            first=names[first] if low_rank and isinstance(first, int) else None,
            rank=d_in if low_rank else None,
        )


def _linear(recipe: Recipe, wire: Wire, uses: Mapping[Wire, int]) -> _Found | NoEnding:
    """The map that a value is affine in, or why there is none."""
    if isinstance(wire, str):
        return NoEnding(reason="what flows in flows out, without a linear map at the end")
    step = recipe.steps[wire]
    if uses[wire] > 1:
        return NoEnding(reason=f"what its last `{step.kind}` returns is used more than once")
    if _is_map(step):
        return _Found(wire, (), 1.0)
    if step.kind in UNCHANGING:
        return _after(_linear(recipe, step.inputs[0], uses), move=step)
    if step.kind in ("add", "sub"):
        return _sum(recipe, step, uses)
    factor = _factor(step)
    if factor is not None and factor != 0:
        return _after(_linear(recipe, step.inputs[0], uses), factor=factor)
    taken = step.inputs[0] if step.kind == "item" else wire
    last = recipe.steps[taken].kind if isinstance(taken, int) else step.kind
    return NoEnding(reason=f"it ends in `{last}`, not in a linear map")


def _sum(recipe: Recipe, step: Step, uses: Mapping[Wire, int]) -> _Found | NoEnding:
    """The later one of the maps that the sides of a sum or difference are affine in."""
    sides = [_linear(recipe, side, uses) for side in step.inputs]
    if step.kind == "sub":
        negative = 0 if "left" in step.arguments else 1  # a number on the left is no input
        sides = [_after(side, factor=-1.0 if i == negative else 1.0) for i, side in enumerate(sides)]
    found = [side for side in sides if isinstance(side, _Found)]
    return max(found, key=lambda one: one.index) if found else sides[-1]


def _after(found: _Found | NoEnding, *, move: Step | None = None, factor: float = 1.0) -> _Found | NoEnding:
    if isinstance(found, NoEnding):
        return found
    moves = found.moves if move is None else (*found.moves, move)
    return _Found(found.index, moves, factor * found.scale)


def _factor(step: Step) -> float | None:
    """What a step multiplies by, if it does nothing else."""
    left, right = step.arguments.get("left"), step.arguments.get("right")
    match step.kind:
        case "neg":
            return -1.0
        case "mul":  # of two values, neither is a number
            return _number(left if right is None else right)
        case "div":
            number = _number(right)
            return 1 / number if number else None
        case _:
            return None


def _number(value: Argument) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _is_map(step: Step) -> bool:
    if step.code is not None:
        return False
    arguments = step.arguments
    if step.kind == "Linear":
        return True
    plain = {"padding": 0, "groups": 1}
    return (
        step.kind == "Conv2d"
        and arguments["kernel_size"] in (1, (1, 1))
        and all(arguments.get(name, value) in (value, (value, value)) for name, value in plain.items())
    )


def _sizes(step: Step) -> tuple[int, int]:
    names = ("in_features", "out_features") if step.kind == "Linear" else ("in_channels", "out_channels")
    d_in, d_out = (step.arguments[name] for name in names)
    if not isinstance(d_in, int) or not isinstance(d_out, int):
        raise TypeError(f"the sizes of a {step.kind} are ints, not {d_in!r} and {d_out!r}")
    return d_in, d_out


def _elman(recipe: Recipe) -> ElmanEnding | NoEnding | None:
    """Whether the recipe is `RNN(width)[0]` and nothing else."""
    kinds = [step.kind for step in recipe.steps]
    if not recipe.chain or kinds != ["RNN", "item"] or recipe.steps[1].arguments["index"] != 0:
        return None
    arguments = recipe.steps[0].arguments
    layers, d_in, width = (arguments.get(name, 1) for name in ("num_layers", "input_size", "hidden_size"))
    if arguments.get("bidirectional", False) or not arguments.get("bias", True):
        return NoEnding(reason="balanced truncation is for one direction, with a bias")
    if not (isinstance(layers, int) and isinstance(d_in, int) and isinstance(width, int)):
        raise TypeError("the sizes of an RNN are ints")
    if layers > 2:
        return NoEnding(reason=f"balanced truncation is for one or two layers, not {layers}")
    return ElmanEnding(name=recipe.child_names()[0], layers=layers, d_in=d_in, width=width)


def _uses(recipe: Recipe) -> Mapping[Wire, int]:
    return Counter(wire for step in recipe.steps for wire in step.inputs) + Counter([recipe.output])
