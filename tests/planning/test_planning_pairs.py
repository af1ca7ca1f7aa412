"""Plans of a target network of its own: pairs, stages, the target's regions, everything that is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from theseus_fx import api
from theseus_fx.lang import words
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.models.resolve import build
from theseus_fx.planning.plan import Plan

PAIR = "pair block { guide BasicBlock  target BasicBlock }"
SCHEDULE = "schedule progressive { lr = 1e-3  for = 5 epochs }"


def text(pair: str = PAIR, *, schedule: str = SCHEDULE, more: str = "", target: str = "width = 2") -> str:
    return f"""theseus 1
guide big = small_resnet(width = 4)
target small = small_resnet({target})
input x: f32[batch, 3, 8, 8]
{pair}
{schedule}
{more}
"""


def handed_over(pair: str) -> str:
    """A spec without a guide, which the caller brings."""
    return text(pair).replace("guide big = small_resnet(width = 4)\n", "")


def refused(spec: str, *, model: nn.Module | None = None) -> tuple[Diagnostic, ...]:
    with pytest.raises(Rejected) as caught:
        api.plan(spec, model=model)
    for diagnostic in caught.value.diagnostics:
        assert diagnostic.primary is not None
        assert diagnostic.render()
    return caught.value.diagnostics


def blamed(diagnostic: Diagnostic) -> str:
    assert diagnostic.primary is not None
    return diagnostic.primary.span.text


# --- what a plan holds -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plan() -> Plan:
    return api.plan(text())


def test_each_window_goes_with_a_block(plan: Plan) -> None:
    assert [pair.name for pair in plan.pairs] == ["block[1]", "block[2]", "block[3]"]
    for number, pair in enumerate(plan.pairs, 1):
        assert pair.guide.blocks == pair.target.blocks == (f"layer{number}.0",)
    assert [pair.guide.shape for pair in plan.pairs] == [
        ("batch", 4, 8, 8), ("batch", 8, 4, 4), ("batch", 16, 2, 2),
    ]  # fmt: skip
    assert plan.pairs[2].target.shape == ("batch", 8, 2, 2)
    assert plan.parts == ()


def test_regions_and_head_make_up_the_target(plan: Plan) -> None:
    assert plan.target is not None
    assert plan.spec.target is not None
    model = build(plan.spec.target.model, device=torch.device("meta"), weights=False)
    names = [name for pair in plan.pairs for name in pair.trains]
    assert [*names, "fc.weight", "fc.bias"] == [name for name, _ in model.named_parameters()]
    assert plan.pairs[0].trains[:3] == ("conv1.weight", "bn1.weight", "bn1.bias")  # the stem
    sizes = [pair.target.parameters for pair in plan.pairs]
    assert sum(sizes) + plan.target.head_parameters == plan.totals.parameters_target
    assert (plan.target.head, plan.target.head_parameters) == (("fc",), 8 * 10 + 10)


def test_progressive_trains_the_target_up_to_its_tap(plan: Plan) -> None:
    for number, stage in enumerate(plan.stages, 1):
        assert stage.introduces == (f"block[{number}]",)
        assert stage.trains == tuple(f"block[{i}]" for i in range(1, number + 1))
        assert [tap.node for tap in stage.taps] == [pair.guide.node for pair in plan.pairs[:number]]
        assert stage.trainable_parameters == sum(pair.target.parameters for pair in plan.pairs[:number])
        assert stage.start.kind == "given"


def test_shares_follow_from_the_flops(plan: Plan) -> None:
    for number, stage in enumerate(plan.stages, 1):
        guide = sum(pair.guide.flops for pair in plan.pairs[:number])
        target = sum(pair.target.flops for pair in plan.pairs[:number])
        assert stage.guide_share == pytest.approx(guide / plan.totals.flops_guide)
        assert stage.target_share == pytest.approx(target / plan.totals.flops_target)


def test_the_json(plan: Plan) -> None:
    made = plan.as_json()
    assert [*made["target"]] == ["name", "model", "fingerprint", "head"]
    assert made["target"]["head"] == {"modules": ["fc"], "parameters": 90}
    (first, *_) = made["pairs"]
    assert [*first] == ["name", "pair", "guide", "target", "trains"]
    assert [*first["guide"]] == [*first["target"]] == ["blocks", "node", "shape", "parameters", "flops"]
    assert made["parts"] == []
    assert made["stages"][0]["init"] == {"kind": "given", "reason": "as `target small` builds it"}
    assert made["target"]["fingerprint"] != made["guide"]["fingerprint"]
    assert api.plan(text()).as_json() == made


def test_settings_of_stages() -> None:
    schedule = "schedule progressive { lr = 1e-3  for = 5 epochs  stage 2..3 { lr = 1e-4  for = 7 steps } }"
    stages = api.plan(text(schedule=schedule)).stages
    assert [stage.alignment.lr.candidates for stage in stages] == [(1e-3,), (1e-4,), (1e-4,)]
    assert [str(stage.alignment.budget) for stage in stages] == ["5 epochs", "7 steps", "7 steps"]


def test_recalibration_counts_the_target() -> None:
    (step,) = api.plan(text(more="recalibrate BatchNorm2d { over = 3 batches }")).recalibrate
    assert step.modules == 9


# --- notes -------------------------------------------------------------------------------------------


def test_what_no_stage_trains_is_said() -> None:
    (note,) = api.plan(text()).notes
    assert note == "no tap needs `fc` of the target: without a `finetune` nothing trains its 90 parameters"
    data = "data = digits(canvas = 8, batch = 9)\ntask = classification(classes = 10)"
    tuned = api.plan(text(more=f"{data}\nfinetune {{ lr = 1e-3  for = 1 epochs }}")).notes
    assert tuned[0] == "no tap needs `fc` of the target: fine-tuning trains its 90 parameters"
    assert "biased CKA" in tuned[1]


def test_blocks_behind_the_last_window_are_said() -> None:
    plan = api.plan(text('pair p { guide BasicBlock at ["layer1.0"]  target BasicBlock at [2] }'))
    assert plan.pairs[0].target.blocks == ("layer1.0", "layer2.0")
    assert "no window holds `layer2.0`, `layer3.0` of the guide" in plan.notes
    assert plan.target is not None
    assert "layer3.0.conv1" in plan.target.head


class Looped(nn.Module):
    """One block that runs three times, and a parameter that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Linear(4, 4)
        self.spare = nn.Parameter(torch.zeros(7))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, 4) to (b, 4)."""
        for _ in range(3):
            x = self.block(x).relu()
        return x


def test_every_call_of_a_shared_block_is_a_block() -> None:
    spec = text("pair p { guide Linear  target BasicBlock }").replace(
        "guide big = small_resnet(width = 4)\n", ""
    )

    class Images(Looped):
        def forward(self, x: Tensor) -> Tensor:
            """Maps (b, 3, 8, 8) to (b, 4)."""
            return super().forward(x.flatten(1)[:, :4])

    plan = api.plan(spec, model=Images())
    assert [pair.guide.blocks for pair in plan.pairs] == [("block#1",), ("block#2",), ("block#3",)]
    assert [pair.guide.parameters for pair in plan.pairs] == [20, 0, 0]


# --- several pairs -----------------------------------------------------------------------------------


def test_several_pairs_are_staged_in_the_order_of_the_target() -> None:
    late = 'pair late { guide BasicBlock within "layer3"  target BasicBlock within "layer3" }'
    early = 'pair early { guide BasicBlock within "layer1"  target BasicBlock within "layer1" }'
    plan = api.plan(text(f"{late}\n{early}"))
    assert [pair.name for pair in plan.pairs] == ["early[1]", "late[1]"]
    assert plan.stages[1].introduces == ("late[1]",)


def test_two_pairs_on_one_block_are_refused() -> None:
    other = 'pair other { guide BasicBlock at [1]  target BasicBlock at ["layer2.0"] }'
    (found,) = refused(text(f"{PAIR}\n{other}"))
    assert found.code == "THX403"
    assert found.message == "pairs `block` and `other` align `layer2.0` of the target"


# --- what is refused ---------------------------------------------------------------------------------


GUIDE, TARGET = "guide BasicBlock", "target BasicBlock"
MISFITS = [
    (f"guide BasicBlok  {TARGET}", "THX421", "BasicBlok", "did you mean `BasicBlock`?"),
    (f"{GUIDE}  target Bottleneck", "THX421", "Bottleneck", "the target has no such"),
    (f"{GUIDE}  {TARGET}(training = true)", "THX421", "BasicBlock", "nearly: 3 x BasicBlock"),
    (f'{GUIDE} within "leyer*"  {TARGET}', "THX404", '"leyer*"', "of the guide"),
    (f'{GUIDE}  {TARGET} keep "leyer*"', "THX404", '"leyer*"', "of the target"),
    (f'{GUIDE}  {TARGET} keep "layer3"', "THX422", "BasicBlock", "3 windows in the guide and 2"),
    (f'{GUIDE} keep "layer3" {TARGET}', "THX422", "BasicBlock", "target has more blocks"),
    (f"{GUIDE} every 2  {TARGET}", "THX423", "every 2", 'split by "layer{i}"'),
    (f"{GUIDE} every 2 crossing = allow  {TARGET}", "THX422", "every 2", "1 left over"),
    (f'{GUIDE} by "stage{{i}}"  {TARGET}', "THX424", '"stage{i}"', "does not fit"),
    (f'{GUIDE} at ["layer9.0"]  {TARGET}', "THX425", '"layer9.0"', "none of the 3 blocks"),
    (f"{GUIDE}  {TARGET}  expect 4", "THX402", "4", "expects 4 stages and has 3"),
    (f'{GUIDE} split by "layer{{i}}"  target Conv2d within "layer1"', "THX422", "split", "3 groups"),
    (f'{GUIDE} split by "layer{{i}}"  target Conv2d keep "conv1"', "THX422", "split", "cannot be split"),
]


@pytest.mark.parametrize(("pair", "code", "place", "said"), MISFITS)
def test_pairs_that_do_not_fit(pair: str, code: str, place: str, said: str) -> None:
    (found,) = refused(text(f"pair p {{ {pair} }}"))
    assert found.code == code
    assert blamed(found).startswith(place)
    assert said in " ".join((found.message, *found.help))


def test_a_block_that_never_runs_is_no_block() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Conv2d(3, 3, 1), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.used(x)
            return out

    (found,) = refused(handed_over("pair p { guide Linear  target BasicBlock }"), model=Idle())
    assert found.code == "THX421"
    assert found.help == ("the guide has it, but never calls it, or only inside of what is one operation",)


def test_mistakes_of_both_sides_come_together() -> None:
    found = refused(text("pair p { guide A  target B }\npair q { guide C  target BasicBlock }"))
    assert [blamed(d) for d in found] == ["A", "B", "C"]


def test_a_block_inside_a_block_is_refused() -> None:
    class Outer(nn.Sequential):
        pass

    class Inner(Outer):
        pass

    model = Outer(
        Outer(nn.Conv2d(3, 3, 1)), Inner(nn.Conv2d(3, 3, 1), Outer(nn.Flatten(), nn.Linear(192, 4)))
    )
    spec = text("pair p { guide Outer  target BasicBlock }").replace(
        "guide big = small_resnet(width = 4)\n", ""
    )
    (found,) = refused(spec, model=model)
    assert found.code == "THX426"
    assert found.message == "`1.1` is inside `1`, and both are blocks of the guide"


def test_an_output_without_a_batch_is_refused() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.embedding(torch.arange(4))

    spec = handed_over("pair p { guide Embedding  target BasicBlock at [1] }")
    (found,) = refused(spec.replace("3, 8, 8]", "3, 4, 4]"), model=Positions())
    assert found.code == "THX426"
    assert "the first size of what is compared is the batch" in found.message


def test_the_target_takes_the_inputs_of_the_guide() -> None:
    (found,) = refused(text(target="channels = 1"))
    assert found.code == "THX304"
    assert found.message.startswith("the target `small`, which takes the guide's inputs: ")
    assert blamed(found).startswith("target small")


def test_the_start_of_a_target_is_its_own() -> None:
    schedule = "schedule progressive { lr = 1e-3  for = 1 epochs  init = fit(samples = 64) }"
    (found,) = refused(text(schedule=schedule))
    assert (found.code, blamed(found)) == ("THX522", "fit(samples = 64)")


def test_stages_of_a_pair_need_budgets_and_exist() -> None:
    schedule = "schedule progressive { lr = 1e-3  stage 4 { for = 1 epochs } }"
    found = refused(text(schedule=schedule))
    assert [d.code for d in found] == ["THX503", "THX504"]


@pytest.mark.parametrize(("width", "fits"), [(4, True), (2, False)])
def test_mse_needs_equal_shapes(width: int, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "METRICS", ("cka", "mse"))
    schedule = "schedule progressive { lr = 1e-3  for = 1 epochs  stage 2..3 { metric = mse } }"
    spec = text(schedule=schedule, target=f"width = {width}")
    if fits:
        assert len(api.plan(spec).stages) == 3
        return
    (found,) = refused(spec)
    assert (found.code, blamed(found)) == ("THX521", "mse")
    assert "`layer2.0` (batch, 8, 4, 4) with `layer2.0` (batch, 4, 4, 4)" in found.message


def test_a_recalibrated_class_is_one_of_the_target() -> None:
    (found,) = refused(text(more="recalibrate BatchNorm1d { over = 3 batches }"))
    assert found.code == "THX303"
    assert "did you mean `BatchNorm2d`?" in found.help
