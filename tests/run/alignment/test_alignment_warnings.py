"""What a stage warns of: one line, of the newest part's tap with the highest chance level."""

from __future__ import annotations

from types import MappingProxyType

from theseus_fx.lang.source import Source
from theseus_fx.lang.spec import Alignment, Amount, LearningRate, Metric
from theseus_fx.planning.plan import Stage, Tap
from theseus_fx.run.alignment.readings import TapReading, warning
from theseus_fx.similarity import Reading

SPAN = Source("<test>", "x").span(0, 1)


def stage(*taps: Tap, newest: tuple[str, ...]) -> Stage:
    settings = Alignment(
        budget=Amount(1, "steps"),
        lr=LearningRate(candidates=(1.0,), span=SPAN),
        metric=Metric(name="cka", arguments=MappingProxyType({}), span=SPAN),
        start=None,
    )
    return Stage(
        number=2,
        introduces=newest,
        newest=newest,
        trains=tuple(dict.fromkeys(tap.part for tap in taps if tap.part)),
        taps=taps,
        alignment=settings,
        starts=(),
        guide_share=1.0,
        trainable_parameters=0,
    )


def tap(part: str | None, value: str | None = None) -> Tap:
    return Tap(part=part, node="n", shape=("batch", 5), value=value)


def reading(chance: float) -> TapReading:
    return TapReading(
        similarity=Reading(cka=0.9, ucka=0.1, chance=chance, samples=8, features=500), value=0.9
    )


TAPS = (tap("a"), tap("b"), tap("b", "main"), tap("b", "skip"))
NAMES = [entry.name for entry in TAPS]


def test_only_the_worst_tap_of_the_newest_part_is_told() -> None:
    found = {name: reading(chance) for name, chance in zip(NAMES, (0.99, 0.8, 0.9, 0.85), strict=True)}
    said = warning(stage(*TAPS, newest=("b",)), found)
    assert said is not None
    assert said.startswith("b main ~ out: CKA 0.900 says little: shuffled samples reach 0.900")
    assert "\n" not in said


def test_nothing_is_told_where_the_newest_parts_are_fine() -> None:
    found = {
        name: reading(chance) for name, chance in zip(NAMES, (0.99, 0.1, 0.1, float("nan")), strict=True)
    }
    assert warning(stage(*TAPS, newest=("b",)), found) is None
    assert warning(stage(*TAPS, newest=("a",)), found) is not None


def test_the_models_output_is_told_where_it_is_what_is_compared() -> None:
    said = warning(stage(tap(None), newest=("b",)), {"output": reading(0.95)})
    assert said is not None
    assert said.startswith("output: ")
