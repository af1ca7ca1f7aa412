"""Fingerprints: equal for equal models, different for different ones, blind to weights."""

from __future__ import annotations

import torch
from torch import nn

from theseus_fx.graph.fingerprint import fingerprint
from theseus_fx.graph.trace import trace
from theseus_fx.graph.values import InputSpec


def of(model: nn.Module, size: int = 8) -> str:
    inputs = [InputSpec(name="image", dtype=torch.float32, shape=("batch", 3, size, size))]
    return fingerprint(trace(model, inputs), model)


def test_weights_and_devices_do_not_count() -> None:
    with torch.device("meta"):
        empty = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    assert of(empty) == of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))


def test_everything_else_does() -> None:
    prints = [
        of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())),
        of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), size=9),
        of(nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU())),
        of(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU())),
        of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.1))),
        of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.2))),
        of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity(), nn.ReLU())),
    ]
    assert len(set(prints)) == len(prints)
    assert all(len(text) == 64 for text in prints)
