"""The standard library: every module builds, keeps the part's shape, and mixes only what its comment says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from theseus_fx.graph.values import ValueInfo
from theseus_fx.lang import loader
from theseus_fx.lang.library import library, names_of_kind
from theseus_fx.modules.build import Boundary, build
from theseus_fx.modules.recipe import Recipe

TOKENS = ((7, 6), (7, 6))
IMAGES = ((4, 8, 8), (4, 8, 8))
HALVED = ((4, 8, 8), (6, 4, 4))

CASES = {
    "LowRankLinear": ("rank = 3", HALVED),
    "FlatLinear": ("", HALVED),
    "FlatMLP": ("hidden = 3", HALVED),
    "TokenLinear": ("", TOKENS),
    "TokenMLP": ("", TOKENS),
    "Mixer": ("", TOKENS),
    "LinearMixer": ("", TOKENS),
    "ElmanRNN": ("layers = 2", TOKENS),
    "GRU": ("layers = 2", TOKENS),
    "LSTM": ("", TOKENS),
    "BidirectionalGRU": ("", TOKENS),
    "BidirectionalRNN": ("", TOKENS),
    "PatchLinear": ("", ((4, 8, 8), (6, 8, 8))),
    "PatchMLP": ("hidden = 5", ((4, 8, 8), (6, 8, 8))),
    "DepthwiseMixer": ("", HALVED),
    "BasicBlock": ("", IMAGES),
    "DownsamplingBlock": ("", HALVED),
    "ConvNeXtBlock": ("", IMAGES),
    "Identity": ("", TOKENS),
    "Zero": ("", TOKENS),
}


def test_every_module_is_tested_here_and_explained_in_its_comment() -> None:
    assert CASES.keys() == {*names_of_kind("module")}
    for name, entries in library().items():
        (entry,) = entries
        assert len(entry.definition.doc) > 30, name


def recipe(name: str) -> Recipe:
    arguments, (x, y) = CASES[name]
    (entry,) = library()[name]
    call = f"{name}(c, {arguments})" if arguments else f"{name}(c)"
    spec = loader.loads(
        f'theseus 1\nuse "{entry.file}"\nrule r {{ match Conv2d as c  replace with {call} }}\n'
        "schedule progressive { lr = 1e-3  for = 1 steps }\n",
        guide_required=False,
    )
    inside, outside = (ValueInfo(shape=("batch", *s), dtype=torch.float32) for s in (x, y))
    facts = {
        side: {"shape": v.shape, "channels": v.shape[1], "features": v.features}
        for side, v in (("in", inside), ("out", outside))
    }
    boundary = Boundary(part="r[1] x", input=inside, output=outside, span=spec.rules[0].span)
    return build(spec.rules[0].replacement, boundary, names={"c": facts}, definitions=spec.modules)


@pytest.mark.parametrize("name", CASES)
def test_a_module_keeps_the_shape_of_the_part_and_passes_gradients(name: str) -> None:
    _, (x, y) = CASES[name]
    module = recipe(name).make(seed=0)
    inputs = torch.randn(3, *x, requires_grad=True)
    output: Tensor = module(inputs)
    assert output.shape == (3, *y)
    output.square().sum().backward()
    assert inputs.grad is not None
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("name", CASES)
def test_no_sample_sees_another(name: str) -> None:
    _, (x, _) = CASES[name]
    module = recipe(name).make(seed=0).eval()
    inputs = torch.randn(3, *x)
    alone = torch.cat([module(row[None]) for row in inputs])
    torch.testing.assert_close(module(inputs), alone)


def seen_by(name: str, position: int, dim: int) -> set[int]:
    """The input positions along a dimension that an output position depends on."""
    _, (x, _) = CASES[name]
    inputs = torch.randn(1, *x, requires_grad=True)
    output: Tensor = recipe(name).make(seed=0).eval()(inputs)
    (gradient,) = torch.autograd.grad(output.select(dim, position).square().sum(), inputs)
    seen = gradient.abs().movedim(dim, 0).flatten(1).sum(1) > 0
    return set(torch.nonzero(seen).flatten().tolist())


@pytest.mark.parametrize("name", ["ElmanRNN", "GRU", "LSTM"])
def test_recurrence_never_sees_the_future(name: str) -> None:
    assert seen_by(name, 3, 1) == {0, 1, 2, 3}


@pytest.mark.parametrize("name", ["BidirectionalGRU", "BidirectionalRNN", "Mixer", "LinearMixer"])
def test_these_see_the_whole_sequence(name: str) -> None:
    assert seen_by(name, 3, 1) == set(range(7))


@pytest.mark.parametrize(
    ("name", "dim"), [("TokenLinear", 1), ("TokenMLP", 1), ("PatchLinear", 2), ("PatchMLP", 3)]
)
def test_these_see_one_position_only(name: str, dim: int) -> None:
    assert seen_by(name, 3, dim) == {3}
