"""The Python interface: a guide of one's own, a run that is resumed, a model that is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import theseus_fx
from theseus_fx.lang.diagnostics import Rejected

SPEC = """
theseus 1
use "std/low_rank.thx"
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
rule conv {
  match Conv2d as c  expect 2
  replace with LowRankLinear(c, rank = 3)
}
schedule progressive { metric = cka  lr = 1e-3  for = 2 steps }
finetune { lr = 1e-3  for = 2 steps }
"""


class Net(nn.Module):
    """A guide that no library knows, with an operation in place right behind a tap."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(4, 6, 3, stride=2)
        self.head = nn.Linear(6, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.relu(self.first(image))
        x = self.second(x)
        x += 1
        return self.head(x.mean((2, 3)))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THESEUS_FX_CACHE", str(tmp_path / "cache"))
    return tmp_path


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def test_a_guide_of_ones_own_is_converted_and_not_changed(folder: Path) -> None:
    guide = net()
    before = {name: value.clone() for name, value in guide.state_dict().items()}
    done = theseus_fx.convert(guide, SPEC)
    assert isinstance(done.model, Net)
    assert isinstance(done.model.first, nn.Sequential)
    assert isinstance(guide.first, nn.Conv2d)
    assert all(torch.equal(value, before[name]) for name, value in guide.state_dict().items())
    assert all(p.requires_grad for p in guide.parameters())
    assert done.folder == Path("runs") / "conversion"
    assert done.summary["converted"]["steps"] == 6
    assert done.summary["baselines"] == {}


def test_load_needs_the_guide_again_and_gives_the_same_model() -> None:
    done = theseus_fx.convert(net(), SPEC, out="run")
    with pytest.raises(Rejected, match=r"Net that was handed over"):
        theseus_fx.load("run")
    loaded = theseus_fx.load("run", guide=Net())
    images = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded(images), done.model(images))


def test_resume_needs_the_guide_again() -> None:
    done = theseus_fx.convert(net(), SPEC, out="run")
    with pytest.raises(Rejected, match="was given its model as an object"):
        theseus_fx.resume("run")
    assert theseus_fx.resume("run", model=net()).summary == done.summary


def test_another_model_is_refused_on_resume() -> None:
    theseus_fx.convert(net(), SPEC, out="run")
    other = net()
    other.head = nn.Linear(6, 10, bias=False)
    with pytest.raises(Rejected, match="this has changed: guide"):
        theseus_fx.resume("run", model=other)


def test_a_part_replaced_by_its_equal_changes_nothing() -> None:
    text = SPEC.replace("match Conv2d as c  expect 2", "match ReLU  expect 1")
    text = text.replace("LowRankLinear(c, rank = 3)", "relu")
    guide = net()
    done = theseus_fx.convert(guide, text.replace("finetune { lr = 1e-3  for = 2 steps }", ""))
    (stage,) = done.summary["stages"]
    assert stage["steps"] == 0
    assert stage["taps"]["conv[1]"]["before"] == 1.0
    images = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(done.model(images), guide.eval()(images))


def test_plan_takes_text_and_a_model() -> None:
    plan = theseus_fx.plan(SPEC, model=net())
    assert [part.path for part in plan.parts] == ["first", "second"]
    assert plan.stages[0].taps[0].shape == ("batch", 4, 8, 8)
    assert plan.guide == "Net"


def test_a_global_seed_is_left_alone() -> None:
    guide = net()
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    theseus_fx.convert(guide, SPEC)
    assert torch.equal(torch.rand(2), expected)


def test_importing_the_package_imports_no_torch() -> None:
    program = "import sys, theseus_fx; print('torch' in sys.modules, theseus_fx.__version__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "False"
