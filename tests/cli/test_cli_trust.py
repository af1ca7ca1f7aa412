"""A person's own Python files: named in a spec, run only where that is allowed, kept with the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command_line import Command

import theseus_fx
from theseus_fx.lang.diagnostics import Rejected

CODE = """\
from pathlib import Path
import torch
from torch import nn

Path("ran.txt").write_text("the file was run")

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, padding=1)
        self.head = nn.Linear(width, 10)

    def forward(self, image):
        return self.head(self.conv(image).relu().mean((2, 3)))

class Scale(nn.Module):
    def __init__(self, channels, start=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels, 1, 1), float(start)))

    def forward(self, x):
        return x * self.scale

def helper():
    pass
"""

SPEC = """\
theseus 1
use "std/images.thx"
module Scale = python("mine.py").Scale
guide net = python("mine.py").Net(width = 6)
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
rule conv {
  match Conv2d as c  expect 1
  replace with PatchLinear(c) |> Scale(c.out.channels, start = 0.5) |> it + Scale(c.out.channels)
}
schedule progressive { metric = cka  lr = 1e-3  for = 2 steps }
finetune { lr = 1e-3  for = 2 steps }
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "mine.thx").write_text(SPEC)
    return tmp_path


def test_reading_checking_and_explaining_run_nothing(command: Command, folder: Path) -> None:
    assert command("check", "mine.thx").code == 0
    assert not (folder / "ran.txt").exists()


@pytest.mark.parametrize("arguments", [("plan", "mine.thx"), ("run", "mine.thx")])
def test_without_trust_nothing_is_run(command: Command, folder: Path, arguments: tuple[str, ...]) -> None:
    said = command(*arguments)
    assert said.code == 1
    assert "THX308" in said.err
    assert 'guide net = python("mine.py").Net' in said.err
    assert "--trust" in said.err
    assert not (folder / "ran.txt").exists()


def test_with_trust_it_is_planned_run_and_loaded(command: Command, folder: Path) -> None:
    said = command("plan", "mine.thx", "--trust", "--json", "--out", "plan.json")
    assert said.code == 0, said.err
    plan = json.loads(said.out)
    assert plan["guide"]["model"] == 'python("mine.py").Net'
    assert [file["path"] for file in plan["spec"]["files"]][2:] == ["mine.py"]
    assert [step["kind"] for step in plan["parts"][0]["recipe"]["steps"]][3:] == ["Scale", "Scale", "add"]
    assert command("run", "plan.json", "--out", "run").code == 1
    assert command("run", "plan.json", "--out", "run", "--trust", "--quiet").code == 0
    (folder / "mine.py").unlink()  # the run has kept the text
    with pytest.raises(Rejected, match="not allowed"):
        theseus_fx.load(folder / "run")
    model = theseus_fx.load(folder / "run", trust=True)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert type(model).__name__ == "Net"
    assert "conv.scale_1.scale" in model.state_dict()
    assert command("resume", "run").code == 1
    assert command("resume", "run", "--trust", "--quiet").code == 0


def test_a_changed_file_makes_a_saved_plan_stale(command: Command, folder: Path) -> None:
    assert command("plan", "mine.thx", "--trust", "--out", "plan.json").code == 0
    (folder / "mine.py").write_text(CODE + "\n# another\n")
    said = command("run", "--trust")
    assert (said.code, "mine.py has changed" in said.err) == (1, True)


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ('python("mine.py").Net(', 'python("mine.py").Nett(', "THX309", "did you mean `Net`?"),
        ('python("mine.py").Net(', 'python("mine.py").helper(', "THX309", "no module class `helper`"),
        ('python("mine.py").Net(', 'python("mien.py").Net(', "THX001", "did you mean `mine.py`?"),
        ("width = 6", "wdith = 6", "THX301", "wdith"),
        ("start = 0.5", "strat = 0.5", "THX205", "did you mean `start`?"),
        ('python("mine.py").Scale', 'python("mine.py").Scal', "THX309", "did you mean `Scale`?"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    command: Command, folder: Path, old: str, new: str, code: str, said: str
) -> None:
    (folder / "mine.thx").write_text(SPEC.replace(old, new))
    told = command("plan", "mine.thx", "--trust")
    assert told.code == 1
    assert code in told.err
    assert said in told.err


def test_a_file_that_fails_is_no_bug_of_ours(command: Command, folder: Path) -> None:
    (folder / "mine.py").write_text("import torch\nraise KeyError('no luck')\n")
    said = command("plan", "mine.thx", "--trust")
    assert said.code == 1
    assert "THX309" in said.err
    assert "KeyError: 'no luck'" in said.err


def test_a_used_file_names_no_python_file(command: Command, folder: Path) -> None:
    (folder / "used.thx").write_text('theseus 1\nmodule Scale = python("mine.py").Scale\n')
    (folder / "mine.thx").write_text(SPEC.replace('module Scale = python("mine.py").Scale', 'use "used.thx"'))
    said = command("check", "mine.thx")
    assert (said.code, "THX212" in said.err) == (1, True)
