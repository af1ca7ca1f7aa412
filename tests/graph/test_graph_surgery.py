"""Surgery: ordinary models with modules replaced."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from theseus_fx.graph.surgery import convert


def resnet() -> torchvision.models.ResNet:
    torch.manual_seed(0)
    return torchvision.models.resnet18().eval()


@pytest.mark.parametrize("share", [False, True])
def test_only_the_replaced_paths_change(share: bool) -> None:
    model = resnet()
    before = list(model.state_dict())
    new = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1))
    converted = convert(model, {"layer1.0.conv1": new, "layer1.1.bn2": nn.Identity()}, share=share)
    assert type(converted) is type(model)
    assert converted.get_submodule("layer1.0.conv1") is new
    changed = [n for n in before if not n.startswith(("layer1.0.conv1", "layer1.1.bn2"))]
    assert [n for n in converted.state_dict() if not n.startswith("layer1.0.conv1")] == changed
    assert list(model.state_dict()) == before
    assert isinstance(model.get_submodule("layer1.1.bn2"), nn.BatchNorm2d)
    assert converted(torch.randn(2, 3, 32, 32)).shape == (2, 1000)


def test_a_copy_shares_nothing_and_a_shared_one_everything_else() -> None:
    model = resnet()
    own = {id(parameter) for parameter in model.parameters()}
    new = nn.Linear(512, 10)
    copied = convert(model, {"fc": new})
    assert not own & {id(parameter) for parameter in copied.parameters()}
    shared = convert(model, {"fc": new}, share=True)
    assert {id(parameter) for parameter in shared.parameters()} - own == {id(new.weight), id(new.bias)}
    assert shared.get_submodule("layer1") is model.layer1
    assert model.fc.out_features == 1000


def test_the_copy_computes_the_same_where_nothing_is_replaced() -> None:
    model, x = resnet(), torch.randn(2, 3, 32, 32)
    assert torch.equal(convert(model, {})(x), model(x))
    assert torch.equal(convert(model, {"fc": model.fc}, share=True)(x), model(x))


@pytest.mark.parametrize("path", ["", "layer1.7", "layer1.0.conv1.weight"])
def test_a_path_without_a_module_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no module"):
        convert(resnet(), {path: nn.Identity()})


def test_one_replacement_inside_another_is_refused() -> None:
    with pytest.raises(ValueError, match="lies inside"):
        convert(resnet(), {"layer1": nn.Identity(), "layer1.0.conv1": nn.Identity()})
