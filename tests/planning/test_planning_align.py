"""Taps inside of parts: where they are in guide and replacement, what they weigh, what they cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache

import pytest
import torch
from torch import nn

from theseus_fx.graph.slices import slices
from theseus_fx.lang.diagnostics import Diagnostic
from theseus_fx.models.zoo import SmallResNet
from theseus_fx.modules.recipe import Recipe
from theseus_fx.planning.plan import Plan

Planned = Callable[..., Plan]
Refused = Callable[..., tuple[Diagnostic, ...]]

REPLACEMENT = """
module Mine(part, wide = 8) {
  hidden = Conv2d(wide, 3, padding = 1, stride = part.in.shape[2] // part.out.shape[2])
  act    = relu(hidden)
  return act |> Conv2d(part.out.channels, 1)
}
"""
REGIONS = f"""{REPLACEMENT}
pattern residual(x) {{
  main = x |> Conv2d(kernel_size = 3) |> BatchNorm2d |> ReLU |> Conv2d(kernel_size = 3) |> BatchNorm2d
  skip = x or (x |> Conv2d(kernel_size = 1) |> BatchNorm2d)
  return ReLU(main + skip)
}}
rule block {{ match residual as r  replace with Mine(r)  ALIGN }}
"""
MODULES = f"{REPLACEMENT}\nrule block {{ match BasicBlock as b  replace with Mine(b)  ALIGN }}"
BATCH = "batch"


@lru_cache(maxsize=1)
def model() -> nn.Module:
    with torch.device("meta"):
        return SmallResNet(width=4)


def taps(plan: Plan, stage: int) -> list[tuple[str | None, str, str | None, str | None, float]]:
    return [(t.part, t.node, t.value, t.target, t.weight) for t in plan.stages[stage - 1].taps]


def test_without_align_the_tap_is_the_output(planned: Planned) -> None:
    plan = planned(model(), REGIONS.replace("ALIGN", ""))
    assert taps(plan, 1) == [("block[1]", "layer1_0_relu_1", None, None, 1.0)]
    assert [part.recipe.values for part in plan.parts] == [{}, {}, {}]


def test_a_named_value_of_a_pattern_is_a_tap_beside_the_output(planned: Planned) -> None:
    plan = planned(model(), REGIONS.replace("ALIGN", "align r.main ~ hidden  weight = 0.5"))
    assert taps(plan, 2) == [
        ("block[1]", "layer1_0_relu_1", None, None, 1.0),
        ("block[1]", "layer1_0_bn2", "main", "hidden", 0.5),
        ("block[2]", "layer2_0_relu_1", None, None, 1.0),
        ("block[2]", "layer2_0_bn2", "main", "hidden", 0.5),
    ]
    tap = plan.stages[1].taps[3]
    assert (tap.shape, tap.target_shape) == ((BATCH, 8, 4, 4), (BATCH, 8, 4, 4))
    assert [tap.target_shape for tap in plan.stages[2].taps if tap.extra] == [
        (BATCH, 8, 8, 8), (BATCH, 8, 4, 4), (BATCH, 8, 2, 2),
    ]  # fmt: skip
    recipe = plan.parts[0].recipe
    assert recipe.values == {"hidden": 0}
    assert recipe.shapes == {"hidden": (BATCH, 8, 8, 8)}
    assert Recipe.from_json(json.loads(json.dumps(recipe.as_json()))) == recipe


def test_the_output_has_a_weight_and_may_be_compared_twice(planned: Planned) -> None:
    plan = planned(model(), REGIONS.replace("ALIGN", "align r.out ~ act  align r.out  weight = 3"))
    assert taps(plan, 1) == [
        ("block[1]", "layer1_0_relu_1", None, None, 3.0),
        ("block[1]", "layer1_0_relu_1", "out", "act", 1.0),
    ]
    assert plan.parts[0].recipe.values == {"act": 1}


def test_a_module_inside_of_a_part_is_a_tap(planned: Planned) -> None:
    plain = planned(model(), MODULES.replace("ALIGN", ""))
    plan = planned(model(), MODULES.replace("ALIGN", 'align b["conv1"] ~ hidden  align b["bn2"] ~ act'))
    assert taps(plan, 1) == [
        ("block[1]", "layer1_0_relu_1", None, None, 1.0),
        ("block[1]", "layer1_0_conv1", "conv1", "hidden", 1.0),
        ("block[1]", "layer1_0_bn2", "bn2", "act", 1.0),
    ]
    assert [part.opened for part in plan.parts] == [True, True, True]
    assert [part.opened for part in plain.parts] == [False, False, False]
    for opened, whole in zip(plan.parts, plain.parts, strict=True):
        assert (opened.path, opened.input_node) == (whole.path, opened.inputs[0].node)
        assert opened.flops_before == whole.flops_before > 0
        assert opened.parameters_before == whole.parameters_before
        assert opened.convention == whole.convention
    assert plan.totals == plain.totals
    shares = [stage.guide_share for stage in plan.stages]
    assert shares == [stage.guide_share for stage in plain.stages]


def test_an_opened_part_can_be_placed_in_its_graph(planned: Planned) -> None:
    plan = planned(model(), MODULES.replace("ALIGN", 'align b["conv1"] ~ hidden'))
    part = plan.parts[0]
    wants = [tap.node for tap in plan.stages[0].taps]
    cut = slices(
        plan.trace,
        {part.node: part.placed(part.recipe.make(device="meta"))},
        guide_wants=wants,
        target_wants=[part.node],
    )
    assert cut.target == {part.node}
    assert {"layer1_0_conv1", part.node} <= cut.guide


def test_only_rules_that_look_inside_open_their_parts(planned: Planned) -> None:
    text = MODULES.replace("match BasicBlock as b", 'match BasicBlock as b in "layer1*"')
    text = text.replace("ALIGN", 'align b["conv1"] ~ hidden')
    plan = planned(
        model(), f'{text}\nrule other {{ match BasicBlock as b  keep "layer1*"  replace with Mine(b) }}'
    )
    assert [(part.name, part.opened) for part in plan.parts] == [
        ("block[1]", True), ("other[1]", False), ("other[2]", False),
    ]  # fmt: skip
    assert "layer1_0_conv1" in plan.trace.nodes
    assert "layer2_0_conv1" not in plan.trace.nodes


def test_a_value_that_the_output_does_not_need_stays(planned: Planned) -> None:
    text = MODULES.replace("act    = relu(hidden)", "act = relu(hidden)\n  side = Linear(act.shape[1])")
    text = text.replace("return act |>", "return act * side.rank / side.rank |>")
    plan = planned(model(), text.replace("ALIGN", "align b.out ~ side"))
    plain = planned(model(), text.replace("ALIGN", ""))
    recipe, without = plan.parts[0].recipe, plain.parts[0].recipe
    kinds, others = ([step.kind for step in made.steps] for made in (recipe, without))
    assert sorted(kinds) == sorted(["Linear", *others])
    assert recipe.steps[int(recipe.values["side"])].kind == "Linear"


def test_distilling_stages_compare_the_output_of_the_model_alone(planned: Planned) -> None:
    schedule = "schedule progressive { lr = 1e-3  for = 5 epochs  stage 2 { metric = distill } }"
    plan = planned(model(), REGIONS.replace("ALIGN", "align r.main ~ hidden"), schedule=schedule)
    assert [len(stage.taps) for stage in plan.stages] == [2, 1, 6]
    assert plan.stages[1].taps[0].part is None


def test_json_says_where_each_tap_is(planned: Planned) -> None:
    plan = planned(model(), REGIONS.replace("ALIGN", "align r.main ~ hidden  weight = 0.5")).as_json()
    assert plan["stages"][0]["taps"][1] == {
        "part": "block[1]", "node": "layer1_0_bn2", "shape": [BATCH, 4, 8, 8], "value": "main",
        "target": "hidden", "target_shape": [BATCH, 8, 8, 8], "weight": 0.5,
    }  # fmt: skip
    assert plan["parts"][0]["recipe"]["values"] == {"hidden": {"wire": 0, "shape": [BATCH, 8, 8, 8]}}


# --- what cannot be aligned ---


def test_an_optional_value_that_a_site_does_not_have(refused: Refused) -> None:
    text = REGIONS.replace("skip = x or (x |> Conv2d(kernel_size = 1) |> BatchNorm2d)", "way = x |> Conv2d")
    text = text.replace("return ReLU(main + skip)", "return ReLU(main + x) or ReLU(main + BatchNorm2d(way))")
    (found,) = refused(model(), text.replace("ALIGN", "align r.way ~ hidden"))
    assert found.primary is not None
    assert (found.code, found.primary.span.text) == ("THX524", "r.way")
    assert found.message == "`block[1] layer1.0` has no value `way`: the optional step there matched nothing"
    assert found.secondary[0].span.text == "match residual as r"


INSIDE = [
    ("conv3", "`block[1] layer1.0` calls no module `conv3`", "did you mean `conv2` or `conv1`?"),
    ("conv1.weight", "`block[1] layer1.0` calls no module `conv1.weight`", "`conv1`"),
    ("relu", "`block[1] layer1.0` calls `relu` 2 times", "called once"),
]


@pytest.mark.parametrize(("path", "message", "fix"), INSIDE)
def test_modules_that_a_part_does_not_call_once(refused: Refused, path: str, message: str, fix: str) -> None:
    (found,) = refused(model(), MODULES.replace("ALIGN", f'align b["{path}"] ~ hidden'))
    assert (found.code, found.message) == ("THX524", message)
    assert fix in " ".join(found.help)
    assert "the same holds for 2 more parts" in found.help


class Turned(nn.Module):
    """Something inside has the batch second, and something is two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = Turn()
        self.both = Both()
        self.end = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.both(x)
        return self.end(self.turn(left).transpose(0, 1) + right)


class Turn(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(0, 1)


class Both(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + 1, x + 2


WRONG = [
    ('p["turn"] ~ h', "`turn` of `part[1] part` is (5, b, 4), which has no row for each sample"),
    ('p["both"] ~ h', "`both` of `part[1] part` returns 2 tensors that the model uses"),
    (
        "p.out ~ all",
        "`all` in the replacement of `part[1] part` is (1, b, 4), which has no row for each sample",
    ),
]


@pytest.mark.parametrize(("align", "message"), WRONG)
def test_values_without_a_row_for_each_sample(refused: Refused, align: str, message: str) -> None:
    guide = nn.Sequential()
    guide.add_module("part", Turned())
    text = f"""
    module Mine(part) {{
      h   = Linear(4)
      all = GRU(4)[1]
      return h * all.rank
    }}
    rule part {{ match Turned as p  replace with Mine(p)  align {align} }}"""
    (found,) = refused(guide, text, shape="5, 4")
    assert (found.code, found.message) == ("THX524", message)


def test_a_tuple_is_no_value_to_compare(refused: Refused) -> None:
    guide = nn.Sequential(nn.Linear(4, 4))
    text = """module Mine(part) { h = GRU(4) return h[0] }
    rule part { match Linear as p  replace with Mine(p)  align p.out ~ h }"""
    (found,) = refused(guide, text, shape="5, 4")
    assert found.primary is not None
    assert (found.code, found.primary.span.text) == ("THX502", "GRU(4)")


def test_mse_needs_equal_shapes(planned: Planned, refused: Refused) -> None:
    schedule = "schedule progressive { lr = 1e-3  for = 5 epochs  stage 3 { metric = mse } }"
    text = MODULES.replace("ALIGN", 'align b["conv1"] ~ hidden  align b["conv2"] ~ act')
    found = refused(model(), text, schedule=schedule)
    assert [f.code for f in found] == ["THX531", "THX531"]
    assert [f.secondary[0].span.text for f in found] == [
        'align b["conv1"] ~ hidden',
        'align b["conv2"] ~ act',
    ]
    assert (
        found[0].message == "`mse` cannot compare `block[1] conv1 ~ hidden`: (b, 4, 8, 8) with (b, 8, 8, 8)"
    )
    equal = text.replace("wide = 8", "wide = part.out.channels")
    assert planned(model(), equal, schedule=schedule).stages[2].alignment.metric.name == "mse"


def test_rows_of_tokens_need_tokens_on_both_sides(refused: Refused) -> None:
    guide = nn.Sequential(nn.Linear(4, 4))
    text = """module Mine(part) {
      flat = flatten(start_dim = 1)
      half = narrow(dim = 1, start = 0, length = 2)
      return flat |> Linear(20) |> reshape(part.out.shape) |> it * half.rank
    }
    rule part { match Linear as p  replace with Mine(p)  ALIGN }"""
    schedule = "schedule progressive { lr = 1e-3  for = 5 epochs  rows = tokens }"
    (flat,) = refused(guide, text.replace("ALIGN", "align p.out ~ flat"), schedule=schedule, shape="5, 4")
    assert flat.code == "THX523"
    assert flat.message.startswith("`part[1] out ~ flat` is batch x 20: rows of tokens need")
    (half,) = refused(guide, text.replace("ALIGN", "align p.out ~ half"), schedule=schedule, shape="5, 4")
    assert half.code == "THX523"
    assert "other rows of tokens in the guide" in half.message
