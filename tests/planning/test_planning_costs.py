"""Parameters, FLOPs and the share of the guide that runs, against numbers computed by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from theseus_fx import api
from theseus_fx.graph.cost import module_flops
from theseus_fx.graph.values import ValueInfo
from theseus_fx.models.zoo import SmallResNet
from theseus_fx.planning import parts
from theseus_fx.planning.plan import Plan

Planned = Callable[..., Plan]

CONV = 2 * 64 * 5 * 3 * 9  # 3 -> 5 channels, 3 x 3, padded, at 8 x 8
HEAD = 2 * 5 * 64 * 10


class Tiny(nn.Module):
    """A convolution and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.head = nn.Linear(5 * 64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).flatten(1))


def test_the_costs_of_a_part_are_those_computed_by_hand(planned: Planned) -> None:
    plan = planned(Tiny(), "rule r { match Conv2d as c replace with LowRankLinear(c, rank = 4) }")
    (part,) = plan.parts
    assert part.parameters_before == 5 * 3 * 9 + 5
    assert part.parameters_after == 192 * 4 + 4 * 320 + 320
    assert part.flops_before == CONV
    assert part.flops_after == 2 * 192 * 4 + 2 * 4 * 320
    (stage,) = plan.stages
    assert stage.trainable_parameters == part.parameters_after
    assert stage.guide_share == pytest.approx(CONV / (CONV + HEAD))
    head = 320 * 10 + 10
    assert plan.totals.parameters_guide == 140 + head
    assert plan.totals.parameters_target == part.parameters_after + head
    assert plan.totals.flops_guide == CONV + HEAD
    assert plan.totals.flops_target == part.flops_after + HEAD


def test_the_last_stage_runs_what_its_last_tap_needs(planned: Planned) -> None:
    text = """rule conv { match Conv2d as c replace with LowRankLinear(c, rank = 4) }
rule head { match Linear as l replace with Linear(4, bias = false) |> Linear(10) }"""
    shares = [stage.guide_share for stage in planned(Tiny(), text).stages]
    assert shares == [pytest.approx(CONV / (CONV + HEAD)), 1.0]


def test_shared_parameters_count_once_before_and_after(planned: Planned) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 6, bias=False)
            self.second = nn.Linear(6, 6, bias=False)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    text = 'rule r { match Linear in "first" replace with Linear(6, bias = false) }'
    totals = planned(Tied(), text, shape="6").totals
    assert totals.parameters_guide == 36
    assert totals.parameters_target == 72


def test_planning_changes_nothing_in_the_model(planned: Planned) -> None:
    model = SmallResNet(width=4).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    planned(model, "rule r { match Conv2d as c replace with LowRankLinear(c, rank = 4) }")
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("batch", "wide"), [(512, 0), (256, 3), (8, 9)])
def test_a_batch_smaller_than_the_taps_is_noted(batch: int, wide: int) -> None:
    text = f"""theseus 1
use "std/low_rank.thx"
guide net = small_resnet(width = 8, channels = 1)
data = digits(canvas = 8, batch = {batch})
task = classification(classes = 10)
rule r {{ match Conv2d as c replace with LowRankLinear(c, rank = 4) }}
schedule progressive {{ lr = 1e-3  for = 1 steps }}
"""
    plan = api.plan(text)
    assert plan.batch_size == batch
    if wide == 0:
        assert plan.notes == ()
    else:
        (note,) = plan.notes
        assert note.startswith(f"{wide} of 9 taps have more features (up to 512) than the batch")
        assert "THX507" in note


def test_without_data_there_is_no_batch_to_note(planned: Planned) -> None:
    plan = planned(Tiny(), "rule r { match Conv2d as c replace with LowRankLinear(c, rank = 4) }")
    assert plan.batch_size is None
    assert plan.notes == ()


def test_equal_replacements_are_counted_once(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[nn.Module] = []

    def count(module: nn.Module, *inputs: ValueInfo) -> int:
        counted.append(module)
        return module_flops(module, *inputs)

    monkeypatch.setattr(parts, "module_flops", count)
    widths = (8, 8, 8, 4, 4, 4)
    layers = nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise((8, *widths))), nn.Flatten())
    text = "rule r { match Linear as l replace with Linear(3) |> Linear(l.out.features) }"
    plan = planned(layers, text, shape="8")
    assert [part.flops_after for part in plan.parts] == [96, 96, 96, 72, 48, 48]
    assert [part.parameters_after for part in plan.parts] == [59, 59, 59, 43, 31, 31]
    assert len(counted) == 3
