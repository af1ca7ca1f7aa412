"""What single packages do that no common check shows, each seen by running it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from similarity_candidates import biased_cka, unbiased_cka
from similarity_correctness import activations
from similarity_cost import RAISED, first_line
from similarity_peers import (
    OfLayers,
    Taps,
    cka_pytorch_layers,
    of_batches,
    pytorch_cka_layers,
    quiet,
    simtorch_layers,
    torch_cka_layers,
)
from torch import nn

from theseus_fx.similarity import cka_loss

LAYERS = ["taps.tap0", "taps.tap1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One observation."""

    package: str
    how: str
    """What was run."""
    seen: str


def findings(packages: Collection[str]) -> list[Finding]:
    """Of ours and of these packages."""
    with quiet():
        return [
            Finding(package=package, how=how, seen=run())
            for package, how, run in FINDINGS
            if package == "ours" or package in packages
        ]


def _second_derivative() -> str:
    a, b = activations("cpu")
    x = a.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cka_loss(x, b), x, create_graph=True)
    try:
        (gradient.square().sum() + x.sum()).backward()
    except RAISED as error:
        return first_line(error)
    return "nothing is raised, and it is missing" if (x.grad == 1).all() else "there"


def _gradient_to_guide() -> str:
    a, b = (x.clone().requires_grad_() for x in activations("cpu"))
    cka_loss(a, b).backward()
    return "none" if b.grad is None else "there"


def _ckatorch_flag() -> str:
    from ckatorch.core import cka_base

    a, b = activations("cpu")
    value = cka_base(a, b, unbiased=True, method="hsic").item()
    biased, unbiased = biased_cka(a.double(), b.double()), unbiased_cka(a.double(), b.double())
    return f"{value:.4f}; biased is {biased:.4f}, unbiased {unbiased:.4f}"


def _ckatorch_layers() -> str:
    from ckatorch import CKA

    a, b = activations("cpu")
    rows = [{"x": torch.tensor(i)} for i in range(len(a))]
    try:
        cka = CKA(Taps(a), Taps(b), ["taps.tap0"])
        value = cka(torch.utils.data.DataLoader(rows, batch_size=len(a), shuffle=True), epochs=1)[0, 0]
    except RAISED as error:
        return first_line(error)
    return f"{value:.4f}"


def _simtorch_flag() -> str:
    a, b = activations("cpu")
    value = simtorch_layers(unbiased=True)(Taps(a), Taps(b), LAYERS[:1], len(a))[0, 0]
    biased, unbiased = biased_cka(a.double(), b.double()), unbiased_cka(a.double(), b.double())
    return f"{value:.4f}; biased is {biased:.4f}, unbiased {unbiased:.4f}"


def _repsim_song() -> str:
    import repsim

    a, b = (x.double() for x in activations("cpu"))
    value = repsim.cka([a.numpy(), b.numpy()], kernel_type="linear", estimator="song")[0, 1]
    across = repsim.hsic([a.numpy(), b.numpy()], kernel_type="linear", estimator="song")[0, 1]
    biased = repsim.hsic([a.numpy(), b.numpy()], kernel_type="linear", estimator="gretton")
    mixed = across / (biased[0, 0] * biased[1, 1]) ** 0.5
    right = unbiased_cka(a, b)
    return f"{value:.4f}; unbiased is {right:.4f}, its unbiased HSIC over its biased norms {mixed:.4f}"


def _cka_pytorch_scale() -> str:
    a, b = activations("cpu")
    compare = of_batches(cka_pytorch_layers)()
    values = [f"{float(compare(scale * a, scale * b)):.4f}" for scale in (1, 10, 100)]
    return f"{', '.join(values)}; unbiased is {unbiased_cka(a.double(), b.double()):.4f}"


def _own_diagonal(load: Callable[[], OfLayers]) -> Callable[[], str]:
    def run() -> str:
        a, b = activations("cpu")
        model = Taps(a, b)
        cka = load()(model, Taps(a, b), LAYERS, len(a))
        return f"{float(cka[0, 0]):.4f} and {float(cka[1, 1]):.4f}; 1 is right"

    return run


def _in_place(load: Callable[[], OfLayers]) -> Callable[[], str]:
    def run() -> str:
        generator = torch.Generator().manual_seed(0)
        a = torch.randn(64, 256, generator=generator)
        b = a + torch.randn(64, 256, generator=generator)
        apart, in_place = (
            float(load()(Taps(a, after=after), Taps(b, after=after), LAYERS[:1], len(a))[0, 0])
            for after in (nn.ReLU(), nn.ReLU(inplace=True))
        )
        return f"{apart:.4f} before a ReLU, {in_place:.4f} if the ReLU is in place"

    return run


IN_PLACE = "CKA of layers whose output goes through a ReLU"
DIAGONAL = "CKA of two layers of a model with themselves, one batch"
FINDINGS: tuple[tuple[str, str, Callable[[], str]], ...] = (
    ("ours", "gradient to the second argument", _gradient_to_guide),
    ("ours", "square of the gradient as a second term of a loss", _second_derivative),
    ("ckatorch", "`cka_base(unbiased=True, method='hsic')`", _ckatorch_flag),
    ("ckatorch", "`CKA` of layers with outputs (b, d)", _ckatorch_layers),
    ("simtorch", "`CKA(unbiased=True)`", _simtorch_flag),
    ("repsim", "`cka(kernel_type='linear', estimator='song')`", _repsim_song),
    ("cka-pytorch", "rows of norm 1, 10 and 100, `epsilon` of 1e-4 in the root as is", _cka_pytorch_scale),
    ("simtorch", DIAGONAL, _own_diagonal(simtorch_layers)),
    ("torch-cka", DIAGONAL, _own_diagonal(torch_cka_layers)),
    ("pytorch-cka", DIAGONAL, _own_diagonal(pytorch_cka_layers)),
    ("cka-pytorch", DIAGONAL, _own_diagonal(cka_pytorch_layers)),
    ("simtorch", IN_PLACE, _in_place(simtorch_layers)),
    ("torch-cka", IN_PLACE, _in_place(torch_cka_layers)),
    ("pytorch-cka", IN_PLACE, _in_place(pytorch_cka_layers)),
    ("cka-pytorch", IN_PLACE, _in_place(cka_pytorch_layers)),
)
