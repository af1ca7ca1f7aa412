"""Starts that are copies; orders and groups of schedules, carried out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import Tensor, nn

from theseus_fx import api
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.planning.reordered import in_order

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
TUNE = "lr = 1e-3  for = 1 steps"
PAIR = """theseus 1
guide  big   = small_resnet(width = 2, channels = 1, blocks = 2)
target small = small_resnet(width = 2, channels = 1)
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
pair block {{ guide BasicBlock every 2  target BasicBlock }}
schedule progressive {{ {settings}  lr = none  for = 1 steps }}
finetune {{ lr = none  for = 1 steps }}
compare naive {{ lr = 1e-3 }}
"""


def test_a_copy_is_the_guide_s_part(tmp_path: Path) -> None:
    text = SPEC.format(
        schedule="progressive { lr = none  for = 1 steps  init = copy }", finetune=TUNE, compare="naive"
    )
    made = api.plan(text.replace("LowRankLinear(c, rank = 2)", CONV))
    done = api.run_plan(made, out=tmp_path / "run", device="cpu")
    for stage in done.summary["stages"]:
        assert stage["start"] == "copy"
        for tap in stage["taps"].values():
            assert tap["before"] == pytest.approx(1, abs=1e-12)
        (start,) = stage["start_similarity"].values()
        assert start["random"] < 0.999
        assert start["copy"] == pytest.approx(1, abs=1e-12)


def test_blocks_of_a_target_begin_as_copies(tmp_path: Path) -> None:
    """The guide's block in the same place of the window, and what both have by name outside of blocks."""
    made = api.plan(PAIR.format(settings="init = copy"))
    done = api.run_plan(made, out=tmp_path / "run", device="cpu")
    assert [stage["start"] for stage in done.summary["stages"]] == ["copy"] * 3
    assert all(pair.copies == ((f"layer{i}.0", f"layer{i}.0"),) for i, pair in enumerate(made.pairs, 1))
    assert made.target is not None
    assert {"conv1.weight", "bn1.weight", "fc.weight", "fc.bias"} <= set(made.target.copies)
    assert not any(name.startswith("layer") for name in made.target.copies)
    first = done.summary["stages"][0]["taps"]["block[1]"]["before"]
    plain = api.run_plan(api.plan(PAIR.format(settings="")), out=tmp_path / "plain", device="cpu").summary
    assert first > plain["stages"][0]["taps"]["block[1]"]["before"]
    # the naive baseline begins as the sentence builds the target in both
    values = [
        {name: outcome["details"] for name, outcome in summary["baselines"].items()}
        for summary in (done.summary, plain)
    ]
    assert values[0] == values[1]


def test_only_the_pairs_of_some_stages_are_copied() -> None:
    made = api.plan(PAIR.format(settings="stage 2 { init = copy }"))
    assert [bool(pair.copies) for pair in made.pairs] == [False, True, False]
    assert [start.start.kind for stage in made.stages for start in stage.starts] == ["given", "copy", "given"]


def test_a_copy_of_other_shapes_is_refused() -> None:
    text = PAIR.format(settings="init = copy").replace(
        "target small = small_resnet(width = 2", "target small = small_resnet(width = 4"
    )
    with pytest.raises(Rejected) as caught:
        api.plan(text)
    found = caught.value.diagnostics[0]
    assert found.code == "THX508"
    assert found.message.startswith(
        "`layer1.0` cannot start as a copy of `layer1.0`: tensor 1 is 2 x 2 x 3 x 3"
    )
    assert found.primary is not None
    assert found.primary.span.text == "copy"


EASIEST = """theseus 1
use "std/low_rank.thx"
guide net = small_resnet(width = 2, channels = 1)
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
rule conv { match Conv2d as c in "layer*.conv1"  replace with LowRankLinear(c, rank = 2) }
schedule sequential { order = easiest  GROUP  init = fit(samples = 64)  lr = 1e-3  for = 2 steps }
finetune { lr = 1e-3  for = 1 steps }
compare distillation
"""


@pytest.mark.parametrize("group", ["", "group = 2"])
def test_the_easiest_comes_first(tmp_path: Path, group: str) -> None:
    made = api.plan(EASIEST.replace("GROUP", group))
    done = api.run_plan(made, out=tmp_path / "run", device="cpu")
    order = done.summary["order"]
    assert sorted(order) == [part.name for part in made.parts]
    found = json.loads((tmp_path / "run" / "work" / "order" / "result.json").read_text())
    similarities = [found["similarities"][name] for name in order]
    assert similarities == sorted(similarities, reverse=True)
    size = 2 if group else 1
    stages = [order[at : at + size] for at in range(0, len(order), size)]
    assert [stage["parts"] for stage in done.summary["stages"]] == stages
    assert [stage["parts"] for stage in done.summary["baselines"]["distillation"]["stages"]] == stages
    if not group:  # the first one is fed by the guide in any case
        (first,) = done.summary["stages"][0]["start_similarity"].values()
        assert first["fit"] == pytest.approx(similarities[0], abs=1e-6)
    assert api.resume(tmp_path / "run").summary == done.summary


class Two(nn.Module):
    """A feature map, then tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.linear = nn.Linear(4, 4)
        self.head = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, 10) of images, (b, 1, h, w)."""
        tokens: Tensor = self.linear(self.conv(x).flatten(2).transpose(1, 2))
        logits: Tensor = self.head(tokens.mean(1))
        return logits


def test_settings_of_a_stage_have_to_suit_the_part_that_comes_there() -> None:
    model = Two()
    made = api.plan(
        """theseus 1
input image: f32[batch, 1, 8, 8]
rule conv   { match Conv2d as c  replace with Conv2d(4, 1) }
rule linear { match Linear as l in "linear"  replace with Linear(4) }
schedule sequential { order = easiest  lr = 1e-3  for = 2 steps  stage 2 { rows = tokens } }
""",
        model=model,
    )
    conv, linear = (part.name for part in made.parts)
    assert [stage.newest for stage in in_order(made, [conv, linear], model).stages] == [(conv,), (linear,)]
    with pytest.raises(Rejected) as caught:
        in_order(made, [linear, conv], model)
    assert [d.code for d in caught.value.diagnostics] == ["THX523"]


def test_blocks_of_a_target_are_not_measured() -> None:
    with pytest.raises(Rejected) as caught:
        api.plan(PAIR.format(settings="order = easiest"))
    (found,) = caught.value.diagnostics
    assert (found.code, found.primary is not None and found.primary.span.text) == ("THX532", "easiest")


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
