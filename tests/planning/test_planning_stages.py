"""Stages: settings of the schedule and of stage blocks, starts, recalibration, everything that is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from theseus_fx.lang.diagnostics import Diagnostic
from theseus_fx.lang.spec import Amount
from theseus_fx.models.zoo import SmallResNet
from theseus_fx.planning.plan import Plan

Planned = Callable[..., Plan]
Refused = Callable[..., tuple[Diagnostic, ...]]

LOW_RANK = "rule conv { match Conv2d as c  replace with LowRankLinear(c, rank = 4) }"
NO_FIT = "rule conv { match Conv2d as c  replace with Conv2d(c.out.channels, 1, stride = c.stride) |> relu }"


def blamed(diagnostic: Diagnostic) -> str:
    assert diagnostic.primary is not None
    return diagnostic.primary.span.text


def meta(width: int = 4) -> nn.Module:
    with torch.device("meta"):
        return SmallResNet(width=width)


# --- settings ----------------------------------------------------------------------------------------


def test_a_stage_block_wins_over_the_schedule_and_covers_its_range(planned: Planned) -> None:
    schedule = """schedule progressive {
      lr = 1e-3  for = 5 epochs  weight_decay = 0.1  clip = 2.0
      stage 2..3 { lr = choose(none, 3e-4)  weight_decay = 0 }
      stage 9    { for = 7 steps  clip = 0.5 }
    }"""
    stages = planned(meta(), LOW_RANK, schedule=schedule).stages
    assert [s.alignment.lr.candidates for s in stages] == [(1e-3,), *[(None, 3e-4)] * 2, *[(1e-3,)] * 6]
    assert [s.alignment.weight_decay for s in stages] == [0.1, 0, 0, *[0.1] * 6]
    assert [s.alignment.budget for s in stages] == [*[Amount(5, "epochs")] * 8, Amount(7, "steps")]
    assert [s.alignment.clip for s in stages] == [*[2.0] * 8, 0.5]


def test_what_nobody_sets_is_the_default(planned: Planned) -> None:
    (alignment, *_) = [s.alignment for s in planned(meta(), LOW_RANK).stages]
    assert (alignment.metric.name, alignment.optimizer.name) == ("cka", "adamw")
    assert (alignment.weight_decay, alignment.clip, alignment.start) == (0.01, 1.0, None)


def test_the_init_of_a_stage_wins(planned: Planned) -> None:
    schedule = """schedule progressive {
      lr = 1e-3  for = 5 epochs  init = random
      stage 2 { init = fit(samples = 99, metric = plain) }
    }"""
    stages = planned(meta(), LOW_RANK, schedule=schedule).stages
    assert [s.starts[0].start.kind for s in stages[:3]] == ["random", "fit", "random"]
    assert (stages[1].starts[0].start.samples, stages[1].starts[0].start.metric) == (99, "plain")
    assert stages[1].starts[0].reason == "as the spec says"


def test_progressive_introduces_one_part_and_trains_all_so_far(planned: Planned) -> None:
    plan = planned(meta(), LOW_RANK)
    for t, stage in enumerate(plan.stages, start=1):
        assert stage.number == t
        assert stage.introduces == (f"conv[{t}]",)
        assert stage.trains == tuple(f"conv[{i}]" for i in range(1, t + 1))
        assert tuple(tap.part for tap in stage.taps) == stage.trains
        assert stage.trainable_parameters == sum(plan.part(n).parameters_after for n in stage.trains)


@pytest.mark.parametrize(("block", "shown"), [("stage 10", "10"), ("stage 8..12", "8..12")])
def test_a_stage_that_does_not_exist_is_refused(refused: Refused, block: str, shown: str) -> None:
    schedule = f"schedule progressive {{ lr = 1e-3  for = 1 steps  {block} {{ lr = 1e-4 }} }}"
    (diagnostic,) = refused(meta(), LOW_RANK, schedule=schedule)
    assert diagnostic.code == "THX503"
    assert diagnostic.message.startswith("the plan has 9 stages, there is no stage 1")
    assert blamed(diagnostic).startswith(block)
    assert diagnostic.primary is not None
    assert diagnostic.primary.text == f"stage {shown}"


@pytest.mark.parametrize(
    ("schedule", "messages"),
    [
        ("lr = 1e-3", ["stages 1..9 have no `for`"]),
        ("", ["stages 1..9 have no `for` and no `lr`"]),
        ("for = 1 steps  stage 2..8 { lr = 1e-3 }", ["stages 1, 9 have no `lr`"]),
        (
            "for = 1 steps  stage 4 { clip = 1.0 }  stage 6 { lr = 1e-3 }",
            ["stages 1..3, 5, 7..9 have no `lr`", "stage 4 has no `lr`"],
        ),
    ],
)
def test_stages_without_budget_or_rate_are_listed(
    refused: Refused, schedule: str, messages: list[str]
) -> None:
    found = refused(meta(), LOW_RANK, schedule=f"schedule progressive {{ {schedule} }}")
    assert [d.code for d in found] == ["THX504"] * len(messages)
    assert [d.message for d in found] == messages


# --- starts ------------------------------------------------------------------------------------------


def test_two_linear_maps_are_fitted_by_default(planned: Planned) -> None:
    for stage in planned(meta(), LOW_RANK).stages:
        assert (stage.starts[0].start.kind, stage.starts[0].start.metric) == ("fit", "logits")
        assert stage.starts[0].reason == "the default for two linear maps"


def test_anything_else_starts_at_random_with_the_reason(planned: Planned) -> None:
    for stage in planned(meta(), 'rule r { match ReLU in "relu" replace with gelu }').stages:
        assert stage.starts[0].start.kind == "random"
        assert stage.starts[0].reason == "it ends in `gelu`, not in a linear map"


@pytest.mark.parametrize(
    ("replacement", "reason"),
    [
        ("flatten |> Linear(4, bias = false) |> Linear(8, bias = false)", "its second `Linear` has no bias"),
        ("flatten |> Linear(8) |> relu", "it ends in `relu`, not in a linear map"),
        ("flatten |> Linear(4) |> Linear(8)", ""),
        ("Linear(4, bias = false) |> Linear(8)", ""),
        ("flatten |> Linear(8)", ""),
    ],
)
def test_the_obstacle_to_a_fit_is_the_reason(planned: Planned, replacement: str, reason: str) -> None:
    model = nn.Sequential(nn.Linear(6, 8))
    (stage,) = planned(model, f"rule r {{ match Linear replace with {replacement} }}", shape="6").stages
    assert stage.starts[0].start.kind == ("random" if reason else "fit")
    assert reason in stage.starts[0].reason


@pytest.mark.parametrize(
    ("replacement", "method", "metric", "samples"),
    [
        ("Linear(4, bias = false) |> Linear(8)", "low_rank", "logits", 128),
        ("Linear(8)", "readout", "plain", 128),
        ("Linear(400) |> gelu |> Linear(8)", "readout", "plain", 2048),
        ("flatten |> Linear(40) |> reshape(l.out.shape)", "readout", "plain", 2048),
        ("flatten |> Linear(3) |> Linear(40) |> reshape(l.out.shape)", "low_rank", "logits", 2048),
        ("nn.RNN(8)[0]", "balanced", "plain", 128),
    ],
)
def test_what_is_fitted_and_from_how_many_samples(
    planned: Planned, replacement: str, method: str, metric: str, samples: int
) -> None:
    rule = f"rule r {{ match Linear as l replace with {replacement} }}"
    (stage,) = planned(nn.Sequential(nn.Linear(6, 8)), rule, shape="5, 6").stages
    (start,) = stage.starts
    assert (start.start.kind, start.method, start.start.metric) == ("fit", method, metric)
    assert start.start.samples == samples
    assert start.reason.startswith("the default for ")
    assert start.memory is not None


def test_a_map_that_is_spread_over_positions_is_not_fitted(planned: Planned) -> None:
    rule = "rule r { match Linear replace with Linear(8) + (mean(dim = 1, keepdim = true) |> Linear(8)) }"
    (stage,) = planned(nn.Sequential(nn.Linear(6, 8)), rule, shape="5, 6").stages
    reason = "what its last linear map returns is spread over several positions"
    assert (stage.starts[0].start.kind, stage.starts[0].reason) == ("random", reason)


def test_sequences_too_few_for_the_states_are_refused(refused: Refused) -> None:
    schedule = "schedule progressive { lr = 1e-3  for = 1 steps  init = fit(samples = 10) }"
    rule = "rule r { match Linear replace with nn.RNN(8, num_layers = 2)[0] }"
    (diagnostic,) = refused(nn.Sequential(nn.Linear(6, 8)), rule, schedule=schedule, shape="5, 6")
    assert "10 sequences of 5 do not determine 54 states" in diagnostic.message


WIDE = "rule r { match Linear as l replace with Linear(4, bias = false) |> Linear(9000) }"


def test_an_output_too_wide_for_the_matrix_is_fitted_without_it(planned: Planned) -> None:
    """At many positions the metric would be a matrix; at one, sums over columns need none."""
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(6, 9000))
    (many,) = planned(model, WIDE, shape="500, 6").stages[0].starts
    (one,) = planned(model, WIDE, shape="6").stages[0].starts
    assert (many.start.metric, one.start.metric) == ("plain", "logits")
    assert many.reason == "the default for two linear maps; the logit metric needs a 9,000 x 9,000 matrix"


def test_a_fit_of_any_size_is_planned_with_what_it_holds(planned: Planned) -> None:
    """The first convolution of ResNet-18 at 224 x 224: inputs and outputs of 2,048 samples are 7.3 GiB."""
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 64, 7, stride=2, padding=3))
    rule = "rule conv { match Conv2d as c  replace with LowRankLinear(c, rank = 256) }"
    (start,) = planned(model, rule, shape="3, 224, 224").stages[0].starts
    assert (start.start.kind, start.start.metric, start.start.samples) == ("fit", "logits", 2048)
    assert start.memory is not None
    assert 4 * 2**30 < start.memory < 9 * 2**30


@pytest.mark.parametrize(
    ("rule", "init", "problem"),
    [
        (NO_FIT, "fit(samples = 64)", "it ends in `relu`, not in a linear map"),
        (LOW_RANK, "fit(samples = 4)", "4 samples do not determine a map of rank 4"),
    ],
)
def test_a_fit_that_cannot_be_is_refused_once(refused: Refused, rule: str, init: str, problem: str) -> None:
    schedule = f"schedule progressive {{ lr = 1e-3  for = 1 steps  init = {init} }}"
    (diagnostic,) = refused(meta(), rule, schedule=schedule)
    assert diagnostic.code == "THX508"
    assert diagnostic.message.startswith("`conv[1] conv1` cannot start from a fit: ")
    assert problem in diagnostic.message
    assert blamed(diagnostic) == init
    assert diagnostic.secondary[0].text == "the replacement"
    assert diagnostic.help[-1] == "the same holds for 8 more parts"


def test_the_logit_metric_of_a_wide_output_is_refused(refused: Refused) -> None:
    schedule = "schedule progressive { lr = 1e-3  for = 1 steps  init = fit(metric = logits) }"
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(6, 9000))
    (diagnostic,) = refused(model, WIDE, schedule=schedule, shape="500, 6")
    assert "the logit metric needs a 9,000 x 9,000 matrix" in diagnostic.message
    assert diagnostic.help[0] == "write `fit(metric = plain)`, or `init = random`"


# --- recalibration -----------------------------------------------------------------------------------


def test_batch_statistics_that_remain_are_counted(planned: Planned) -> None:
    (step,) = planned(meta(), f"{LOW_RANK}\nrecalibrate BatchNorm2d {{ over = 3 batches }}").recalibrate
    assert (step.module_class, step.modules, step.over) == ("BatchNorm2d", 9, Amount(3, "batches"))


def test_those_inside_a_part_go_and_those_of_a_replacement_come(planned: Planned) -> None:
    rule = """rule block {
      match BasicBlock as b
      replace with Conv2d(b.out.channels, 1, stride = b.in.shape[2] // b.out.shape[2]) |> BatchNorm2d
    }"""
    plan = planned(meta(), f"{rule}\nrecalibrate BatchNorm2d {{ over = 3 batches }}")
    assert len(plan.parts) == 3
    assert plan.recalibrate[0].modules == 1 + 3


@pytest.mark.parametrize(
    ("wanted", "message", "helped"),
    [
        (
            "BatchNorm2",
            "the converted model has no `BatchNorm2` to recalibrate",
            "did you mean `BatchNorm2d`?",
        ),
        ("LayerNorm", "the converted model has no `LayerNorm` to recalibrate", "BatchNorm2d"),
        ("ReLU", "`ReLU` keeps no batch statistics to recalibrate", "BatchNorm2d"),
    ],
)
def test_a_class_without_batch_statistics_is_refused(
    refused: Refused, wanted: str, message: str, helped: str
) -> None:
    (diagnostic,) = refused(meta(), f"{LOW_RANK}\nrecalibrate {wanted} {{ over = 3 batches }}")
    assert diagnostic.code == "THX303"
    assert diagnostic.message == message
    assert wanted in blamed(diagnostic)
    assert helped in diagnostic.help[0]


def test_a_class_that_goes_with_the_parts_is_refused(refused: Refused) -> None:
    rules = "rule norm { match BatchNorm2d replace with identity }"
    (diagnostic,) = refused(meta(), f"{rules}\nrecalibrate BatchNorm2d {{ over = 3 batches }}")
    assert diagnostic.help == ("no module with batch statistics remains: leave the sentence out",)


# --- what comes together -----------------------------------------------------------------------------


def test_problems_of_replacements_schedule_and_recalibration_come_together(refused: Refused) -> None:
    text = """rule conv { match Conv2d as c  replace with Linaer(4) }
rule head { match Linear as l  replace with Linear(3) }
recalibrate BatchNorm { over = 3 batches }"""
    schedule = "schedule progressive { for = 3 steps  stage 77 { lr = 1e-3 } }"
    found = refused(meta(), text, schedule=schedule)
    assert [d.code for d in found] == ["THX303", "THX501", "THX503", "THX504", "THX303"]
    assert found[0].help[-1] == "the same holds for 8 more parts"


def test_a_container_next_to_what_other_containers_hold(planned: Planned) -> None:
    text = """rule block { match BasicBlock as b where b.in.shape == b.out.shape replace with identity }
rule conv { match Conv2d as c keep "layer1" replace with LowRankLinear(c, rank = 4) }"""
    plan = planned(meta(4), text)
    assert [p.path for p in plan.parts][:3] == ["conv1", "layer1.0", "layer2.0.downsample.0"]
    assert plan.part("block[1]").flops_before == 2 * 2 * 64 * 4 * 4 * 9
    assert plan.part("block[1]").parameters_before == 2 * (4 * 4 * 9 + 8)


def test_a_part_may_return_its_tensor_inside_a_structure(planned: Planned) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, None]:
            return self.inner(x), None

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wrapped = Wrapped()

        def forward(self, x: Tensor) -> Tensor:
            out, _ = self.wrapped(x)
            return out

    plan = planned(Outer(), "rule r { match Wrapped replace with Linear(4) }", shape="4")
    (part,) = plan.parts
    assert part.output_shape == ("batch", 4)
    assert (part.parameters_before, part.flops_before) == (20, 32)
    assert plan.conventions.keys() == {"wrapped"}
