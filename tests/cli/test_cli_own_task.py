"""A task of a person's own file: planned and run with trust, its mistakes told with their place."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from command_line import Command

CODE = """\
import torch
from torch.nn import functional


class Brier:
    metric = "brier"
    direction = "lower"

    def __init__(self, classes, weight=1.0):
        self.classes, self.weight = classes, weight

    def _errors(self, logits, labels):
        wanted = functional.one_hot(labels, self.classes)
        return (logits.softmax(1) - wanted).square().sum(1)

    def loss(self, logits, labels):
        return self.weight * self._errors(logits, labels).mean()

    def sums(self, logits, labels):
        right = (logits.argmax(1) == labels).sum()
        return {"error": self._errors(logits, labels).sum(), "right": right, "count": len(labels)}

    def values(self, sums):
        return {"brier": sums["error"] / sums["count"], "right": sums["right"] / sums["count"]}
"""

SPEC = """\
theseus 1
use "std/low_rank.thx"
guide net = small_resnet(channels = 1, width = 2) trained by { lr = 1e-3  for = 3 steps }
data = digits(canvas = 8, batch = 64)
task = python("mine.py").Brier(10, weight = 0.5)
rule conv { match Conv2d as c in "layer3*"  replace with LowRankLinear(c, rank = 2) }
schedule progressive { init = random  lr = 1e-3  for = 2 steps }
finetune { lr = choose(none, 1e-3)  for = 2 steps }
compare naive { lr = 1e-3 }
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "mine.thx").write_text(SPEC)
    return tmp_path


def test_without_trust_nothing_is_run(command: Command, folder: Path) -> None:
    (folder / "mine.py").write_text(CODE + "\nopen('ran.txt', 'w')\n")
    assert command("check", "mine.thx").code == 0
    for name in ("plan", "run"):
        said = command(name, "mine.thx")
        assert (said.code, "THX308" in said.err) == (1, True)
        assert 'task = python("mine.py").Brier' in said.err
    assert not (folder / "ran.txt").exists()


def test_a_run_trains_and_judges_by_it(command: Command, folder: Path) -> None:
    said = command("plan", "mine.thx", "--trust", "--json", "--out", "plan.json")
    assert said.code == 0, said.err
    plan = json.loads(said.out)
    assert plan["finetune"]["loss"] == [{"kind": "task", "weight": 1.0}]
    assert plan["guide"]["trained_by"]["loss"] == [{"kind": "task", "weight": 1.0}]
    assert [file["path"] for file in plan["spec"]["files"]][-1] == "mine.py"
    said = command("run", "plan.json", "--trust", "--out", "run", "--device", "cpu")
    assert said.code == 0, said.err
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert (summary["metric"]["name"], summary["metric"]["direction"]) == ("brier", "lower")
    for outcome in (summary["guide"], summary["converted"], *summary["baselines"].values()):
        assert set(outcome["details"]) == {"brier", "right"}
        assert outcome["value"] == outcome["details"]["brier"]
        assert 0 < outcome["value"] < 2
    tried = summary["converted"]["trials"]
    assert summary["converted"]["validation"] == min(trial["validation"] for trial in tried)
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    first = next(line["loss"] for line in lines if line.get("phase") == "task")
    assert math.isfinite(first)
    (folder / "mine.py").unlink()  # the run has kept the text
    assert command("resume", "run", "--trust", "--quiet").code == 0


def test_the_guide_is_trained_anew_for_another_task(command: Command, folder: Path) -> None:
    def trained() -> int:
        return len(list((folder / "cache" / "guides").iterdir()))

    assert command("run", "mine.thx", "--trust", "--quiet").code == 0
    assert command("run", "mine.thx", "--trust", "--quiet").code == 0
    assert trained() == 1
    (folder / "mine.thx").write_text(SPEC.replace("weight = 0.5", "weight = 0.25"))
    assert command("run", "mine.thx", "--trust", "--quiet").code == 0
    assert trained() == 2


@pytest.mark.parametrize(
    ("file", "old", "new", "code", "said"),
    [
        ("mine.thx", ".Brier(", ".Briar(", "THX309", "did you mean `Brier`?"),
        ("mine.thx", '"mine.py"', '"mien.py"', "THX001", "did you mean `mine.py`?"),
        ("mine.thx", "weight =", "wieght =", "THX309", "`Brier` cannot be made: TypeError"),
        (
            "mine.thx",
            "for = 2 steps }\ncompare",
            "for = 2 steps  loss = cross_entropy }\ncompare",
            "THX208",
            "write `task`",
        ),
        ("mine.py", "def values", "def numbers", "THX309", "it has no `values`"),
        ("mine.py", '"lower"', '"down"', "THX309", '`direction` "higher" or "lower"'),
        ("mine.py", "class Brier:", "class Brier(", "THX309", "SyntaxError"),
    ],
)
def test_plan_tells_what_is_wrong(
    command: Command, folder: Path, file: str, old: str, new: str, code: str, said: str
) -> None:
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    told = command("plan", "mine.thx", "--trust")
    assert (told.code, code in told.err, said in told.err) == (1, True, True), told.err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (".mean()", "", '`loss` of python("mine.py").Brier fails: it gives a tensor of 64 float32'),
        ("return self.weight *", "return 3 +", None),
        ("logits.softmax(1) -", "logits.softmax(7) -", "fails: IndexError: Dimension out of range"),
        ('"right": right,', '"right": [right],', "its `right` is a list, and sums are numbers"),
        ('{"brier": sums', '{"breier": sums', "it gives `breier`, `right`, and `metric` is `brier`"),
        ('sums["right"] / sums["count"]', '"many"', "its `right` is a str, and a metric is a number"),
        ('return {"brier"', 'return 4, {"brier"', "`values` of"),
    ],
)
def test_a_run_tells_what_fails(command: Command, folder: Path, old: str, new: str, said: str | None) -> None:
    assert old in CODE
    (folder / "mine.py").write_text(CODE.replace(old, new))
    told = command("run", "mine.thx", "--trust", "--quiet")
    if said is None:
        assert told.code == 0, told.err
        return
    assert (told.code, "THX604" in told.err) == (1, True), told.err
    assert said in told.err
    assert "mine.thx:5:8" in told.err


def test_a_metric_that_is_no_number_loses_to_every_other(command: Command, folder: Path) -> None:
    (folder / "mine.py").write_text(CODE.replace('sums["error"] / sums["count"]', 'float("nan")'))
    assert command("run", "mine.thx", "--trust", "--quiet", "--out", "run").code == 0
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert summary["converted"]["value"] == pytest.approx(1.797e308, rel=1e-3)


def test_the_other_tasks_show_their_metrics_too(command: Command, folder: Path) -> None:
    spec = SPEC.replace(
        'python("mine.py").Brier(10, weight = 0.5)', 'classification(classes = 10, metric = "top5")'
    )
    (folder / "mine.thx").write_text(spec)
    said = command("run", "mine.thx", "--out", "run")
    assert said.code == 0, said.err
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert summary["metric"]["name"] == "top5"
    assert set(summary["guide"]["details"]) == {"accuracy", "top5", "cross_entropy"}
    assert summary["guide"]["value"] == summary["guide"]["details"]["top5"]
    shown = said.out + said.err
    assert "top5 (test)" in shown
    _, _, others = shown.partition("also on test")
    heading, guide, converted, naive, *_ = others.splitlines()
    assert heading.split() == ["accuracy", "cross_entropy"]
    assert [row.split()[0].rstrip(",") for row in (guide, converted, naive)] == [
        "guide",
        "converted",
        "naive",
    ]
    assert f"{summary['converted']['details']['cross_entropy']:.3f}" in converted


@pytest.mark.parametrize(
    ("task", "code", "said"),
    [
        ('classification(classes = 10, metric = "top6")', "THX209", "did you mean `top5`?"),
        ('classification(classes = 5, metric = "top5")', "THX208", "five are no choice"),
        ("classification(classes = 10, metric = top5)", "THX203", 'write `"top5"`'),
        ("python(mine).Brier(10)", "THX209", "there is no task"),
    ],
)
def test_tasks_that_there_are_not(command: Command, folder: Path, task: str, code: str, said: str) -> None:
    (folder / "mine.thx").write_text(SPEC.replace('python("mine.py").Brier(10, weight = 0.5)', task))
    told = command("check", "mine.thx")
    assert (told.code, code in told.err, said in told.err) == (1, True, True), told.err
