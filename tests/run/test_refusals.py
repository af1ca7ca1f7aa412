"""What a run cannot carry out is refused before anything starts, each thing with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from theseus_fx import api
from theseus_fx.lang.diagnostics import Diagnostic, Rejected

SPEC = """theseus 1
use "std/low_rank.thx"
guide net = small_resnet(width = 2, channels = 1)
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
rule conv {{ match Conv2d as c in "layer3*"  replace with LowRankLinear(c, rank = 2) }}
schedule {schedule}
finetune {{ {finetune} }}
compare {compare}
"""
CONV = "Conv2d(c.out.channels, c.kernel_size, padding = c.padding, stride = c.stride, bias = false)"
PLAIN = "progressive { lr = 1e-3  for = 1 steps  init = random }"
TUNE = "lr = 1e-3  for = 1 steps"


def refused(
    folder: Path, *, schedule: str = PLAIN, finetune: str = TUNE, compare: str = "naive"
) -> tuple[Diagnostic, ...]:
    """What a run says; it must leave no trace."""
    text = SPEC.format(schedule=schedule, finetune=finetune, compare=compare)
    made = api.plan(text.replace("LowRankLinear(c, rank = 2)", CONV))
    with pytest.raises(Rejected) as caught:
        api.run_plan(made, out=folder / "run")
    assert not (folder / "run").exists()
    for diagnostic in caught.value.diagnostics:
        assert diagnostic.code == "THX820"
        assert diagnostic.help
        assert diagnostic.render()
    return caught.value.diagnostics


def blamed(diagnostics: tuple[Diagnostic, ...]) -> list[str]:
    return [d.primary.span.text if d.primary else "" for d in diagnostics]


SCHEDULES = [
    ("progressive { init = copy  BASE }", ["copy"]),
    ("sequential { BASE  stage 2 { init = copy } }", ["copy"]),
    ("independent { BASE  stage 2 { init = copy }  stage 3 { init = copy } }", ["copy", "copy"]),
    ("joint { init = copy  require cka > 0.5  BASE }", ["copy"]),
]


@pytest.mark.parametrize(("schedule", "places"), SCHEDULES)
def test_each_thing_of_a_schedule(tmp_path: Path, schedule: str, places: list[str]) -> None:
    found = refused(tmp_path, schedule=schedule.replace("BASE", "lr = 1e-3  for = 1 steps"))
    assert sorted(blamed(found)) == sorted(places)


def test_a_copy_is_refused(tmp_path: Path) -> None:
    assert blamed(refused(tmp_path, schedule=PLAIN.replace("random", "copy"))) == ["copy"]


RUNS = [
    "joint { BASE }",
    "sequential { BASE }",
    "independent { BASE }",
    "progressive { feed = guide  group = 2  BASE }",
    "progressive { introduce = upfront  BASE }",
    "sequential { introduce = upfront  order = reverse  BASE }",
    "joint { feed = guide  BASE }",
    "progressive { order = reverse  group = 2  BASE }",
    'progressive { order = [3, 1, 2]  group by "layer{i}"  BASE }',
]


@pytest.mark.parametrize("schedule", RUNS)
def test_orders_and_groups_are_carried_out(tmp_path: Path, schedule: str) -> None:
    text = schedule.replace("BASE", "lr = 1e-3  for = 2 steps  stage 1 { init = fit(samples = 64) }")
    made = api.plan(SPEC.format(schedule=text, finetune=TUNE, compare="naive"))
    done = api.run_plan(made, out=tmp_path / "run")
    stages = done.summary["stages"]
    assert [stage["parts"] for stage in stages] == [list(stage.newest) for stage in made.stages]
    assert [sorted(stage["taps"]) for stage in stages] == [sorted(stage.trains) for stage in made.stages]
    assert sum(stage["steps"] for stage in stages) == 2 * len(made.stages)
