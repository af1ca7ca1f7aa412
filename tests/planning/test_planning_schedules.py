"""Plans of every schedule for a small model: what each stage introduces, trains, compares and is fed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytest
import torch
from torch import nn

from theseus_fx.lang.diagnostics import Diagnostic
from theseus_fx.lang.spec import Compute
from theseus_fx.models.zoo import SmallResNet
from theseus_fx.planning.plan import Plan, Stage

Planned = Callable[..., Plan]
Refused = Callable[..., tuple[Diagnostic, ...]]

LOW_RANK = 'rule conv { match Conv2d as c  keep "layer2", "conv1"  replace with LowRankLinear(c, rank = 4) }'
"""Five parts: two of layer1, three of layer3."""
NAMES = ("conv[1]", "conv[2]", "conv[3]", "conv[4]", "conv[5]")
PATHS = ("layer1.0.conv1", "layer1.0.conv2", "layer3.0.downsample.0", "layer3.0.conv1", "layer3.0.conv2")


@lru_cache(maxsize=1)
def model() -> nn.Module:
    with torch.device("meta"):
        return SmallResNet(width=4)


def schedule(text: str) -> str:
    kind, _, inside = text.partition(" ")
    return f"schedule {kind} {{ lr = 1e-3  for = 5 epochs  {inside} }}"


def numbers(names: tuple[str, ...]) -> str:
    """`123` for conv[1], conv[2], conv[3]."""
    return "".join(name.removeprefix("conv[").removesuffix("]") for name in names)


def told(stage: Stage) -> tuple[str, str, str]:
    """What a stage introduces, is about, and trains."""
    return numbers(stage.introduces), numbers(stage.newest), numbers(stage.trains)


GOLDEN = {
    "progressive": [
        ("1", "1", "1"), ("2", "2", "12"), ("3", "3", "123"), ("4", "4", "1234"), ("5", "5", "12345"),
    ],
    "sequential": [("1", "1", "1"), ("2", "2", "2"), ("3", "3", "3"), ("4", "4", "4"), ("5", "5", "5")],
    "independent": [("1", "1", "1"), ("2", "2", "2"), ("3", "3", "3"), ("4", "4", "4"), ("5", "5", "5")],
    "joint": [("12345", "12345", "12345")],
    "progressive introduce = upfront": [
        ("12345", "1", "1"), ("", "2", "12"), ("", "3", "123"), ("", "4", "1234"), ("", "5", "12345"),
    ],
    "sequential introduce = upfront group = 2": [("12345", "12", "12"), ("", "34", "34"), ("", "5", "5")],
    "progressive order = reverse": [
        ("5", "5", "5"), ("4", "4", "54"), ("3", "3", "543"), ("2", "2", "5432"), ("1", "1", "54321"),
    ],
    "progressive group = 2": [("12", "12", "12"), ("34", "34", "1234"), ("5", "5", "12345")],
    "progressive group = 2 order = reverse": [("54", "54", "54"), ("32", "32", "5432"), ("1", "1", "54321")],
    'progressive group by "layer{i}"': [("12", "12", "12"), ("345", "345", "12345")],
    'sequential group by "*.downsample", "layer{i}" order = reverse': [
        ("54", "54", "54"), ("3", "3", "3"), ("21", "21", "21"),
    ],
    "sequential order = [conv[3], 5, \"layer1.0.conv2\", conv[4], 1]": [
        ("3", "3", "3"), ("5", "5", "5"), ("2", "2", "2"), ("4", "4", "4"), ("1", "1", "1"),
    ],
    'sequential order = ["layer3", "layer1*"] group = 3': [("345", "345", "345"), ("12", "12", "12")],
    "sequential order = [conv] group = 9": [("12345", "12345", "12345")],
    "joint feed = guide": [("12345", "12345", "12345")],
}  # fmt: skip


@pytest.mark.parametrize("text", GOLDEN)
def test_what_each_stage_introduces_and_trains(planned: Planned, text: str) -> None:
    plan = planned(model(), LOW_RANK, schedule=schedule(text))
    assert tuple(part.name for part in plan.parts) == NAMES
    assert tuple(part.path for part in plan.parts) == PATHS
    assert [told(stage) for stage in plan.stages] == GOLDEN[text]
    assert [stage.number for stage in plan.stages] == list(range(1, len(plan.stages) + 1))
    for stage in plan.stages:
        assert tuple(tap.part for tap in stage.taps) == stage.trains
        assert [tap.node for tap in stage.taps] == [plan.part(name).node for name in stage.trains]
        assert stage.trainable_parameters == sum(plan.part(n).parameters_after for n in stage.trains)
        assert tuple(start.part for start in stage.starts) == stage.introduces
        assert 0 < stage.guide_share <= 1


def test_only_independent_parts_are_fed_by_the_guide(planned: Planned) -> None:
    for kind in ("progressive", "sequential", "joint"):
        for stage in planned(model(), LOW_RANK, schedule=schedule(kind)).stages:
            assert stage.guide_inputs == ()
    plan = planned(model(), LOW_RANK, schedule=schedule("independent group = 2"))
    for stage in plan.stages:
        assert tuple(fed.part for fed in stage.guide_inputs) == stage.trains
        for fed in stage.guide_inputs:
            assert fed.nodes == (plan.part(fed.part).input_node,)


def test_groups_keep_their_names(planned: Planned) -> None:
    plan = planned(model(), LOW_RANK, schedule=schedule('progressive group by "layer{i}"'))
    assert [stage.group for stage in plan.stages] == ["layer1", "layer3"]
    assert [stage["group"] for stage in plan.as_json()["stages"]] == ["layer1", "layer3"]


def test_the_json_of_the_schedule(planned: Planned) -> None:
    text = 'sequential order = ["layer3*", conv[2], conv[1]] group by "layer{i}"'
    assert planned(model(), LOW_RANK, schedule=schedule(text)).as_json()["schedule"] == {
        "kind": "sequential",
        "introduce": "staged",
        "train": "newest",
        "feed": "target",
        "order": ["conv[3]", "conv[4]", "conv[5]", "conv[2]", "conv[1]"],
        "group": {"by": ["layer{i}"]},
    }
    made = planned(model(), LOW_RANK, schedule=schedule("joint")).as_json()["schedule"]
    assert (made["kind"], made["introduce"], made["order"], made["group"]) == (
        "joint",
        "upfront",
        "forward",
        None,
    )


def test_stage_blocks_hold_for_groups(planned: Planned) -> None:
    text = (
        "progressive group = 2  metric = ucka  stage 2..3 { lr = 1e-4  for = 7 steps  metric = dmnn(k = 3) }"
    )
    stages = planned(model(), LOW_RANK, schedule=schedule(text)).stages
    assert [s.alignment.lr.candidates for s in stages] == [(1e-3,), (1e-4,), (1e-4,)]
    assert [s.alignment.metric.name for s in stages] == ["ucka", "dmnn", "dmnn"]
    assert [str(s.alignment.budget) for s in stages] == ["5 epochs", "7 steps", "7 steps"]


def test_gates_and_budgets_of_a_stage_win(planned: Planned) -> None:
    text = """progressive group = 2  for = until(loss < 0.1, at_most = 9 epochs)  require cka > 0.8
      stage 2 { for = 3 steps  require loss < 0.2 else extend(2) }"""
    settings = f"schedule {text.replace('progressive', 'progressive { lr = 1e-3 ', 1)} }}"
    first, second, third = (s.alignment for s in planned(model(), LOW_RANK, schedule=settings).stages)
    assert first == third
    assert first.until is not None
    assert (first.until.measure, first.budget.count, second.until, second.budget.count) == (
        "loss",
        9,
        None,
        3,
    )
    assert [(g.condition.measure, g.extend) for g in (*first.gates, *second.gates)] == [
        ("cka", 0),
        ("loss", 2),
    ]


def test_how_a_stage_is_computed_wins_setting_by_setting(planned: Planned) -> None:
    text = "progressive accumulate = 2  precision = bf16  stage 2 { accumulate = 1  checkpointing = true }"
    stages = planned(model(), LOW_RANK, schedule=schedule(text)).stages
    first, second = (stage.alignment.compute for stage in stages[:2])
    assert first == Compute(accumulate=2, precision="bf16")
    assert second == Compute(accumulate=1, precision="bf16", checkpointing=True)


def test_the_init_of_a_stage_is_that_of_its_own_parts(planned: Planned) -> None:
    for text in ("sequential", "sequential introduce = upfront"):
        stages = planned(model(), LOW_RANK, schedule=schedule(f"{text} stage 2 {{ init = random }}")).stages
        kinds = {start.part: start.start.kind for stage in stages for start in stage.starts}
        assert kinds == {name: "random" if name == "conv[2]" else "fit" for name in NAMES}


def test_distillation_compares_the_output(planned: Planned) -> None:
    plan = planned(model(), LOW_RANK, schedule=schedule("progressive group = 3 metric = distill"))
    for stage in plan.stages:
        assert [(tap.part, tap.node, tap.shape) for tap in stage.taps] == [
            (None, plan.trace.output, ("batch", 10))
        ]
        assert stage.guide_share == 1


def test_a_copy_needs_tensors_of_the_same_shapes(planned: Planned, refused: Refused) -> None:
    conv = "Conv2d(c.out.channels, 3, padding = 1, bias = false)"
    copied = f'rule conv {{ match Conv2d as c in "layer1" replace with {conv} }}'
    stages = planned(model(), copied, schedule=schedule("progressive init = copy")).stages
    assert [start.start.kind for stage in stages for start in stage.starts] == ["copy", "copy"]
    (found,) = refused(model(), LOW_RANK, schedule=schedule("progressive init = copy"))
    assert found.code == "THX508"
    assert found.message == (
        "`conv[1] layer1.0.conv1` cannot start as a copy: "
        "the guide's part has 1 tensor and the replacement 3 tensors"
    )
    other = 'rule conv { match Conv2d as c in "layer1" replace with Conv2d(c.out.channels, 1, bias = false) }'
    (found,) = refused(model(), other, schedule=schedule("progressive init = copy"))
    assert (
        "tensor 1 is 4 x 4 x 3 x 3 in the guide's part and 4 x 4 x 1 x 1 in the replacement" in found.message
    )


# --- what is refused ---------------------------------------------------------------------------------

BAD = [
    ("order = [conv[9], conv[1]]", "THX520", "conv[9]", "no part is `conv[9]`", "did you mean `conv["),
    ("order = [6]", "THX520", "6", "no part is number 6", "there are parts 1 to 5"),
    ('order = ["layer9*"]', "THX520", '"layer9*"', "no part is `layer9*`", ""),
    ("order = [conv[1], conv]", "THX520", "conv", "`conv[1] layer1.0.conv1` stands in", "once"),
    ('order = ["layer1*", conv[2], "layer3*"]', "THX520", "conv[2]", "`conv[2] layer1.0.conv2`", "once"),
    ('order = ["layer3*"]', "THX520", '["layer3*"]', "conv1` and 1 more are not", "`conv[2]`"),
    ("order = [1, 2, 3, 4]", "THX520", "[1, 2, 3, 4]", "conv2` is not in the order", "conv[5]"),
    ('group by "layer1"', "THX521", 'group by "layer1"', "downsample.0` fits no group", "2 more"),
    ('group by "layer{i}", "stem"', "THX404", '"stem"', 'no part fits the path pattern "stem"', ""),
    ('group by "layr{i}", "layer{i}"', "THX404", '"layr{i}"', "no part fits", "`layer1`"),
    ('order = [5, 1, 2, 3, 4] group by "layer{i}"', "THX522", "[5, 1, 2, 3, 4]", "group `layer3`", "after"),
    ("stage 6 { lr = 1 }", "THX503", "stage 6", "the plan has 5 stages", ""),
    ("group = 2 stage 4 { lr = 1 }", "THX503", "stage 4", "the plan has 3 stages", ""),
    ("rows = tokens", "THX523", "tokens", "`conv[1]` is batch x 4 x 8 x 8", "rows = samples"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "blamed", "said", "helped"), BAD)
def test_one_mistake_is_one_diagnostic(
    refused: Refused, text: str, code: str, blamed: str, said: str, helped: str
) -> None:
    (found,) = refused(model(), LOW_RANK, schedule=schedule(f"progressive {text}"))
    assert (found.code, found.primary.span.text if found.primary else "") == (code, blamed)
    assert said in found.message
    assert helped in "; ".join(found.help)


def test_what_stands_twice_shows_both_places(refused: Refused) -> None:
    (found,) = refused(model(), LOW_RANK, schedule=schedule('progressive order = [conv, "layer1*"]'))
    assert found.message == "`conv[1] layer1.0.conv1` and 1 more stand in the order twice"
    assert [label.span.text for label in found.secondary] == ["conv"]


def test_all_mistakes_of_an_order_come_at_once(refused: Refused) -> None:
    found = refused(model(), LOW_RANK, schedule=schedule("progressive order = [1, 1, 9, 12]"))
    assert [d.message for d in found] == [
        "`conv[1] layer1.0.conv1` stands in the order twice", "no part is number 9", "no part is number 12",
    ]  # fmt: skip
