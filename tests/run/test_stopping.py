"""`until` and `require`: what is measured, when, and what follows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from broken_runs import assert_same_run, metrics, run, run_broken, spec
from torch import Tensor

import theseus_fx
from theseus_fx import api
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.source import Source
from theseus_fx.lang.spec_stages import Condition, Gate
from theseus_fx.run.measures import HeldOut, Passed, judged, reached, similarity
from theseus_fx.run.smoothing import Smoothed
from theseus_fx.run.stopping import Ending, Until, may_extend
from theseus_fx.similarity import cka, mutual_knn, ucka

SPAN = Source("<test>", "require").span(0, 7)


def condition(measure: str, operator: str = ">", level: float = 0.5, **arguments: int) -> Condition:
    return Condition(measure=measure, arguments=arguments, operator=operator, level=level, span=SPAN)  # type: ignore[arg-type]


def held_out(*weights: float) -> HeldOut:
    torch.manual_seed(0)
    pairs = [(torch.randn(12, 5), torch.randn(12, 3)) for _ in weights]
    return HeldOut(
        targets=[a for a, _ in pairs], guides=[b for _, b in pairs], weights=weights, loss=torch.tensor(0.25)
    )


def test_a_similarity_is_the_weighted_mean_over_the_taps() -> None:
    held = held_out(1.0, 3.0)
    values: dict[str, Any] = {"cka": cka, "ucka": ucka, "mutual_knn": lambda a, b: mutual_knn(a, b, 4)}
    for name, value in values.items():
        asked = condition(name, **({"k": 4} if name == "mutual_knn" else {}))
        one, other = (float(value(a, b)) for a, b in zip(held.targets, held.guides, strict=True))
        assert similarity(asked, held) == pytest.approx((one + 3 * other) / 4, abs=1e-12)
    with pytest.raises(ValueError, match="no similarity"):
        similarity(condition("loss"), held)


@pytest.mark.parametrize(
    ("operator", "below", "level", "above"),
    [
        ("<", True, False, False),
        ("<=", True, True, False),
        (">", False, False, True),
        (">=", False, True, True),
    ],
)
def test_levels(operator: str, below: bool, level: bool, above: bool) -> None:
    asked = condition("cka", operator)
    assert [reached(asked, value) for value in (0.4, 0.5, 0.6)] == [below, level, above]
    assert not reached(asked, float("nan"))


def test_held_out_values_are_taken_once_and_only_for_similarities() -> None:
    taken: list[int] = []

    def take() -> HeldOut:
        taken.append(1)
        return held_out(1.0)

    loss = Gate(condition=condition("loss", "<", 0.3))
    (entry,) = judged([loss], lambda: 0.2, take)
    assert (entry.value, entry.passed, taken) == (0.2, True, [])
    entries = judged(
        [loss, Gate(condition=condition("cka", level=0.99)), Gate(condition=condition("ucka"))],
        lambda: 0.4,
        take,
    )
    assert [entry.passed for entry in entries] == [False, False, False]
    assert len(taken) == 1
    assert str(entries[0]) == "loss is 0.4000 and has to be < 0.3"


def until(measure: str, *, steps: int, window: int, level: float = 0.5, operator: str = "<") -> Until:
    def take() -> HeldOut:
        return held_out(1.0)

    return Until.of(condition(measure, operator, level), take, steps=steps, window=window, steps_per_epoch=7)


def test_how_often_until_looks() -> None:
    assert until("loss", steps=10_000, window=500).every == 50
    assert until("loss", steps=100, window=500).every == 10
    assert until("loss", steps=6, window=1).every == 1
    assert until("cka", steps=1000, window=500).every == 7
    assert until("cka", steps=40, window=500).every == 4


def test_until_holds_only_where_it_looks() -> None:
    loss = Smoothed(1)
    loss.add(torch.tensor(0.1))
    watch = until("loss", steps=30, window=100)
    assert [step for step in range(1, 10) if watch.holds(step, loss)] == [3, 6, 9]
    loss.add(torch.tensor(0.9))
    assert not watch.holds(3, loss)
    assert until("cka", steps=1, window=1, level=0.01, operator=">").holds(1, loss)


def passed(extend: int, *, keep: bool = False, yes: bool = False) -> Passed:
    return Passed(
        gate=Gate(condition=condition("cka"), extend=extend, keep_guide=keep), value=0.1, passed=yes
    )


def test_a_stage_is_extended_as_long_as_all_missed_gates_allow_it() -> None:
    assert not may_extend([], 0)
    assert may_extend([passed(1)], 0)
    assert not may_extend([passed(1)], 1)
    assert not may_extend([passed(1), passed(0)], 0)


def test_the_gates_without_extensions_decide_what_follows() -> None:
    assert not Ending(gates=(passed(0, keep=True, yes=True),)).keeps_guide
    assert Ending(gates=(passed(0, keep=True),)).keeps_guide
    assert not Ending(gates=(passed(0, keep=True), passed(0))).keeps_guide
    assert Ending(gates=(passed(0, keep=True), passed(2))).keeps_guide
    assert Ending(gates=(passed(2, keep=True),)).keeps_guide  # took no steps
    assert Ending(gates=(passed(2, keep=True), passed(1)), extensions=2).keeps_guide is False


UNTIL = "lr = 1e-3  for = until(cka > 0.01, at_most = 60 steps)"
GATED = """lr = cosine(1e-3)  for = 4 steps
  stage 1 { require cka > 0.001 else extend(2)  require loss < 5 }
  stage 2 { require cka > 0.9999 else extend(2) else keep guide }
  stage 3 { require mutual_knn(k = 3) > 0.999 else keep guide }"""


def test_until_ends_a_stage_at_a_look(tmp_path: Path) -> None:
    summary = run(spec(UNTIL), tmp_path / "run")
    for stage in summary["stages"]:
        assert (stage["steps"], stage["ended"], stage["extensions"]) == (6, "until", 0)
    assert summary["converted"]["steps"] == 3 * 6 + 2


def test_until_watches_the_smoothed_loss(tmp_path: Path) -> None:
    text = spec(
        "lr = 1e-3  for = until(loss < 2, at_most = 50 steps)  "
        "stage 3 { for = until(loss < 1e-9, at_most = 3 steps) }"
    )
    ended = [(stage["steps"], stage["ended"]) for stage in run(text, tmp_path / "run")["stages"]]
    assert ended == [(1, "until"), (1, "until"), (3, "budget")]


def test_gates_extend_stages_and_give_parts_back_to_the_guide(tmp_path: Path) -> None:
    text = spec(GATED, rest="compare naive")
    summary = run(text, tmp_path / "run")
    one, two, three = summary["stages"]
    assert (one["steps"], one["extensions"], one["kept_guide"]) == (4, 0, [])
    assert [entry["passed"] for entry in one["require"]] == [True, True]
    assert (two["steps"], two["extensions"], two["kept_guide"]) == (12, 2, ["conv[2]"])
    assert (three["steps"], three["extensions"], three["kept_guide"]) == (4, 0, ["conv[3]"])
    assert sorted(three["taps"]) == ["conv[1]", "conv[3]"]
    assert 0 <= two["require"][0]["value"] < 0.9999

    converted = summary["converted"]
    assert converted["kept_guide"] == ["conv[2]", "conv[3]"]
    model = theseus_fx.load(tmp_path / "run")
    made = api.plan(text)
    kinds = [type(model.get_submodule(part.path)).__name__ for part in made.parts]
    assert [kind == "Conv2d" for kind in kinds] == [False, True, True]
    assert converted["parameters"] == sum(p.numel() for p in model.parameters())
    part = made.part("conv[1]")
    assert converted["flops"] == made.totals.flops_guide - part.flops_before + part.flops_after

    # the rate of an extension begins anew, and its steps go on
    second = [line for line in metrics(tmp_path / "run") if line.get("stage") == 2 and "lr" in line]
    assert [line["step"] for line in second] == [*range(1, 13)]
    assert [line["lr"] for line in second[:4]] == [line["lr"] for line in second[4:8]]
    # the baseline has the same architecture, and at least as many steps
    naive = summary["baselines"]["naive_equal_total"]
    assert (naive["parameters"], naive["steps"]) == (converted["parameters"], converted["steps"])
    assert summary["baselines"]["naive_equal_finetune"]["kept_guide"] == ["conv[2]", "conv[3]"]


def test_the_guide_may_stay_whole(tmp_path: Path) -> None:
    text = spec("lr = choose(none)  for = 1 steps  require cka > 0.9999 else extend(3) else keep guide")
    summary = run(text, tmp_path / "run")
    assert summary["converted"]["kept_guide"] == ["conv[1]", "conv[2]", "conv[3]"]
    assert summary["converted"]["parameters"] == summary["guide"]["parameters"]
    assert [stage["steps"] for stage in summary["stages"]] == [0, 0, 0]
    again = api.resume(tmp_path / "run")
    assert again.summary["converted"]["kept_guide"] == ["conv[1]", "conv[2]", "conv[3]"]


def test_a_stage_that_does_not_pass_stops_the_run_with_its_numbers(tmp_path: Path) -> None:
    text = spec("lr = 1e-3  for = 2 steps  stage 2 { require ucka > 0.9999 else extend(1) }")
    for attempt in (lambda: run(text, tmp_path / "run"), lambda: api.resume(tmp_path / "run")):
        with pytest.raises(Rejected) as caught:
            attempt()
        (diagnostic,) = caught.value.diagnostics
        assert diagnostic.code == "THX802"
        assert diagnostic.message.startswith("stage 2 does not pass: ucka is ")
        assert diagnostic.message.endswith("has to be > 0.9999, after 1 extension (conv[2])")
        assert diagnostic.primary is not None
        assert diagnostic.primary.span.text == "ucka > 0.9999"
    lines = metrics(tmp_path / "run")
    assert [(line["stage"], line["step"]) for line in lines if "lr" in line] == [
        (1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (2, 4),
    ]  # fmt: skip
    assert not (tmp_path / "run" / "summary.json").exists()


def test_a_candidate_that_does_not_pass_is_out_and_the_others_go_on(tmp_path: Path) -> None:
    text = spec("lr = choose(none, 3e-2)  for = 12 steps  require cka > LEVEL")
    plain = run(text.replace("require cka > LEVEL", ""), tmp_path / "plain")
    trained = {t["align"]: t for t in plain["converted"]["trials"]}
    assert set(trained) == {None, 3e-2}
    starts = plain["stages"][0]["taps"]["conv[1]"]["before"]
    first = [
        line for line in metrics(tmp_path / "plain") if line.get("event") == "stage" and line["stage"] == 1
    ]
    ends = first[1]["taps"]["conv[1]"]["after"]
    assert starts < ends
    text = spec(f"lr = choose(none, 3e-2)  for = 12 steps  stage 1 {{ require cka > {(starts + ends) / 2} }}")
    summary = run(text, tmp_path / "run")
    missed, other = summary["converted"]["trials"]
    assert missed["align"] is None
    assert missed["missed"].startswith("stage 1 does not pass: cka is ")
    assert "missed" not in other
    assert summary["converted"]["chosen"]["align"] == 3e-2
    assert api.resume(tmp_path / "run").summary == summary


def test_baselines_are_not_stopped_by_gates(tmp_path: Path) -> None:
    text = spec(
        "lr = choose(none, 1e-3)  for = 2 steps  require cka > 0.3 else keep guide",
        rest="compare random_start { align_lr = 1e-7 }",
    ).replace("init = random", "init = fit(samples = 128, metric = plain)")
    summary = run(text, tmp_path / "run")
    assert summary["converted"]["kept_guide"] == []
    baseline = summary["baselines"]["random_start"]
    assert [stage["kept_guide"] for stage in baseline["stages"]] == [[], [], []]


@pytest.mark.parametrize(("schedule", "every"), [(UNTIL, 6), (GATED, 7)])
def test_killed_and_resumed_equals_never_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str, every: int
) -> None:
    run(spec(schedule), tmp_path / "whole")
    assert run_broken(spec(schedule), tmp_path / "broken", monkeypatch, every=every) >= 3
    assert_same_run(tmp_path / "whole", tmp_path / "broken")
    architectures = [
        json.loads((tmp_path / name / "architecture.json").read_text()) for name in ("whole", "broken")
    ]
    assert architectures[0] == architectures[1]


def test_a_smoothed_loss_does_not_wait_for_the_device() -> None:
    loss = Smoothed(4)

    class Lazy(Tensor):
        """Complains where a number is asked of it."""

        def __float__(self) -> float:
            raise AssertionError("read off the device")

    loss.add(torch.tensor(1.0).as_subclass(Lazy))  # type: ignore[no-untyped-call]
    with pytest.raises(AssertionError, match="read off"):
        loss.value()
