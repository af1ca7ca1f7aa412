"""The optimizers that a spec names are torch's, with the spec's settings."""

from __future__ import annotations

import pytest
import torch
from torch import nn, optim

from theseus_fx.lang import words
from theseus_fx.lang.spec_stages import Optimizer
from theseus_fx.run.optimizers import make_optimizer

CASES = [
    (Optimizer(name="adamw"), lambda p: optim.AdamW(p, lr=0.1, weight_decay=0.5)),
    (Optimizer(name="adam"), lambda p: optim.Adam(p, lr=0.1, weight_decay=0.5)),
    (Optimizer(name="sgd"), lambda p: optim.SGD(p, lr=0.1, weight_decay=0.5)),
    (Optimizer(name="sgd", momentum=0.9), lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.5)),
]


@pytest.mark.parametrize(("chosen", "plain"), CASES)
def test_steps_are_those_of_torch(chosen: Optimizer, plain: object) -> None:
    ours, theirs = (nn.Parameter(torch.arange(3, dtype=torch.float64)) for _ in range(2))
    made = make_optimizer(chosen, [ours], lr=0.1, weight_decay=0.5)
    expected = plain([theirs])  # type: ignore[operator]
    for _ in range(5):
        for parameter in (ours, theirs):
            parameter.grad = (parameter.detach() - 2) ** 2
        made.step()
        expected.step()
    assert torch.allclose(ours, theirs, rtol=1e-12)


def test_every_optimizer_of_the_language_is_made() -> None:
    made = {type(make_optimizer(c, [nn.Parameter(torch.ones(1))], lr=1, weight_decay=0)) for c, _ in CASES}
    assert len(made) == len(words.OPTIMIZERS)
