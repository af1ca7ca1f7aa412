"""How replacements end: which linear map is solved for, and where its values go."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from theseus_fx.graph.values import ValueInfo
from theseus_fx.lang import loader
from theseus_fx.modules.build import Boundary, build
from theseus_fx.modules.endings import (
    ElmanEnding,
    LinearEnding,
    NoEnding,
    as_rows,
    ending_of,
    put_back,
)
from theseus_fx.modules.recipe import Recipe

IMAGE = (6, 4, 4)
TOKENS = (5, 6)
USES = 'use "std/images.thx"\nuse "std/low_rank.thx"\nuse "std/recurrent.thx"\nuse "std/tokens.thx"\n'


def made(replacement: str, shape: tuple[int, ...], out: tuple[int, ...] | None = None) -> Recipe:
    text = f"theseus 1\n{USES}rule r {{ match Conv2d as c  replace with {replacement} }}\n"
    spec = loader.loads(text + "schedule progressive { lr = 1e-3  for = 1 steps }", guide_required=False)
    values = [ValueInfo(shape=("batch", *s), dtype=torch.float32) for s in (shape, out or shape)]
    sides = [
        {"shape": v.shape, "rank": len(v.shape), "features": v.features, "channels": v.shape[1]}
        for v in values
    ]
    names: dict[str, object] = {"c": {"in": sides[0], "out": sides[1]}}
    boundary = Boundary(part="c", input=values[0], output=values[1], span=spec.rules[0].replacement.span)
    return build(spec.rules[0].replacement, boundary, names=names, definitions=spec.modules)


def linear(recipe: Recipe) -> LinearEnding:
    ending = ending_of(recipe)
    assert isinstance(ending, LinearEnding)
    return ending


AFFINE = [
    ("LowRankLinear(c, rank = 3)", IMAGE, ("linear_1", "linear_2"), (96, 3, 96)),
    ("Linear(3, bias = false) |> Linear(6)", TOKENS, ("linear_1", "linear_2"), (6, 3, 6)),
    ("Linear(9) |> gelu |> Linear(3) |> Linear(6)", TOKENS, ("linear_2", "linear_3"), (9, 3, 6)),
    ("FlatLinear(c)", IMAGE, (None, "linear"), (96, None, 96)),
    ("FlatMLP(c, hidden = 7)", IMAGE, (None, "linear_2"), (7, None, 96)),
    ("TokenLinear(c)", TOKENS, (None, "linear"), (6, None, 6)),
    ("TokenMLP(c)", TOKENS, (None, "linear_2"), (24, None, 6)),
    ("PatchLinear(c)", IMAGE, (None, "linear"), (6, None, 6)),
    ("PatchMLP(c)", IMAGE, (None, "linear_2"), (24, None, 6)),
    ("Mixer(c)", TOKENS, (None, "linear_4"), (24, None, 6)),
    ("LinearMixer(c)", TOKENS, (None, "linear_2"), (6, None, 6)),
    ("ConvNeXtBlock(c)", IMAGE, (None, "linear_2"), (24, None, 6)),
    ("DepthwiseMixer(c)", IMAGE, (None, "conv2d_2"), (6, None, 6)),
    ("BidirectionalGRU(c)", TOKENS, (None, "linear"), (6, None, 6)),
    ("nn.GRU(4)[0] |> Linear(6) |> Dropout(0.5)", TOKENS, (None, "linear"), (4, None, 6)),
    ("it - 0.5 * (Linear(6) |> identity)", TOKENS, (None, "linear"), (6, None, 6)),
    ("1 - Linear(6) / 4", TOKENS, (None, "linear"), (6, None, 6)),
    ("-(transpose(1, 2) |> Linear(5)) |> transpose(1, 2)", TOKENS, (None, "linear"), (5, None, 5)),
    ("-relu(it) + Linear(6)", TOKENS, (None, "linear"), (6, None, 6)),
]  # fmt: skip


@pytest.mark.parametrize(("replacement", "shape", "names", "sizes"), AFFINE, ids=[a[0] for a in AFFINE])
def test_the_output_is_affine_in_the_last_map(
    replacement: str,
    shape: tuple[int, ...],
    names: tuple[str | None, str],
    sizes: tuple[int, int | None, int],
) -> None:
    """What is put back to the map is exactly what the map has to return for the output to be as wanted."""
    recipe = made(replacement, shape)
    ending = linear(recipe)
    assert (ending.first, ending.name) == names
    assert (ending.d_in, ending.rank, ending.d_out) == sizes

    module = recipe.make(seed=0).eval()
    last = module.get_submodule(ending.name)
    returned: list[torch.Tensor] = []
    last.register_forward_hook(lambda _module, _inputs, output: returned.append(output))
    x = torch.randn(3, *shape)
    with torch.no_grad():
        wanted = module(x)
        expected = returned[0]
        for parameter in last.parameters():
            parameter.zero_()
        rest = module(x)
    found = put_back((wanted - rest) / ending.scale, ending.moves, expected.shape[1:])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert as_rows(found, last).shape == (found.numel() // ending.d_out, ending.d_out)


@pytest.mark.parametrize(
    ("replacement", "shape", "reason"),
    [
        ("BasicBlock(c)", IMAGE, "it ends in `relu`, not in a linear map"),
        ("Conv2d(6, 3, padding = 1)", IMAGE, "it ends in `Conv2d`, not in a linear map"),
        ("Conv2d(6, 1, groups = 2)", IMAGE, "it ends in `Conv2d`, not in a linear map"),
        ("GRU(c)", TOKENS, "it ends in `GRU`, not in a linear map"),
        ("LSTM(c, layers = 2)", TOKENS, "it ends in `LSTM`, not in a linear map"),
        ("Linear(6) |> LayerNorm", TOKENS, "it ends in `LayerNorm`, not in a linear map"),
        ("Linear(6) * Linear(6)", TOKENS, "it ends in `mul`, not in a linear map"),
        ("0 * Linear(6)", TOKENS, "it ends in `mul`, not in a linear map"),
        ("2 / Linear(6)", TOKENS, "it ends in `div`, not in a linear map"),
        ("identity", TOKENS, "what flows in flows out, without a linear map at the end"),
        ("Linear(6) |> it + it", TOKENS, "what its last `Linear` returns is used more than once"),
        ("ElmanRNN(c, layers = 3)", TOKENS, "balanced truncation is for one or two layers, not 3"),
        ("nn.RNN(6, bias = false)[0]", TOKENS, "balanced truncation is for one direction, with a bias"),
    ],
)  # fmt: skip
def test_why_nothing_can_be_solved_for(replacement: str, shape: tuple[int, ...], reason: str) -> None:
    assert ending_of(made(replacement, shape)) == NoEnding(reason=reason)


@pytest.mark.parametrize("layers", [1, 2])
def test_an_elman_network_is_known(layers: int) -> None:
    found = ending_of(made(f"ElmanRNN(c, layers = {layers})", TOKENS))
    assert found == ElmanEnding(name="rnn", layers=layers, d_in=6, width=6)


def test_a_bias_of_the_last_map_may_be_missing() -> None:
    assert linear(made("Linear(3, bias = false) |> Linear(6, bias = false)", TOKENS)).bias is False


def test_rows_of_a_convolution_are_its_positions() -> None:
    x = torch.randn(2, 3, 4, 5)
    rows = as_rows(x, nn.Conv2d(3, 1, 1))
    assert rows.shape == (40, 3)
    assert torch.equal(rows[7], x[0, :, 1, 2])
