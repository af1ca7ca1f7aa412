"""What `new` can turn the parts of a model into, as text of the language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A kind of replacement with one size to choose."""

    title: str
    """What parts become, for the first line of the spec."""
    param: str
    value: int
    whole: str
    """The replacement that sees a whole sample at once; `{part}` is the rule's binding."""
    preamble: str
    """What the spec needs for that: a `use`, or a `module`."""
    positions: str
    """The replacement that sees each position by itself, as a linear layer does; `{size}` is its width."""


TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        "low_rank": Template(
            title="two linear maps",
            param="rank",
            value=64,
            whole="LowRankLinear({part}, rank = rank)",
            preamble='use "std/low_rank.thx"                     # module LowRankLinear(part, rank)',
            positions="Linear(rank, bias = false) |> Linear({size})",
        ),
        "mlp": Template(
            title="a perceptron with one hidden layer",
            param="width",
            value=256,
            whole="Perceptron({part}, width = width)",
            preamble=(
                "# A replacement of your own: data flows from left to right.\n"
                "module Perceptron(part, width) =\n"
                "  flatten(start_dim = 1) |> Linear(width) |> ReLU |> Linear(part.out.features) "
                "|> reshape(part.out.shape)"
            ),
            positions="Linear(width) |> ReLU |> Linear({size})",
        ),
    }
)
"""By their names on the command line; the first is the default."""
