"""The list of names that the language knows of torchvision is what torchvision has."""

from __future__ import annotations

from theseus_fx.lang.torchvision_names import TORCHVISION
from theseus_fx.models import from_torchvision


def test_every_name_is_a_model_of_torchvision() -> None:
    assert {"resnet18", "vit_b_16", "convnext_tiny"} <= {*TORCHVISION}
    assert [name for name in TORCHVISION if not from_torchvision.has(name)] == []
