"""Layouts of any schedule, order and grouping, on made-up units."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theseus_fx.lang import loader, words
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.spec import Schedule
from theseus_fx.planning.groups import group_name
from theseus_fx.planning.schedules import lay_out
from theseus_fx.planning.units import Reference

HEAD = "theseus 1\nguide net = small_resnet()\nrule a { match Conv2d  replace with relu }\nschedule "


def units(sizes: list[int]) -> list[Reference]:
    """Consecutive units: so many in each of `layer0`, `layer1`, ..."""
    paths = [f"layer{i}.{j}.conv" for i, size in enumerate(sizes) for j in range(size)]
    return [Reference(name=f"a[{n}]", path=path, family="a") for n, path in enumerate(paths, 1)]


def schedule(text: str) -> Schedule:
    return loader.loads(HEAD + text).schedule


def contradicts(text: str) -> bool:
    """Whether the settings, drawn at random, exclude each other."""
    try:
        schedule(text)
    except Rejected as rejected:
        return {d.code for d in rejected.diagnostics} == {"THX220"}
    return False


@st.composite
def layouts(draw: st.DrawFn) -> tuple[str, list[Reference]]:
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    made = units(sizes)
    kind = draw(st.sampled_from(words.SCHEDULES))
    order = draw(st.sampled_from(("", "order = forward", "order = reverse", "listed")))
    group = draw(st.sampled_from(("", "group = 1", "group = 3", "group = 99", 'group by "layer{i}"')))
    axes = [draw(st.sampled_from(("", f"{a} = {v}"))) for a, known in words.AXES.items() for v in known[1:]]
    if order == "listed":
        if "by" in group:  # layers in any order, each of them whole
            layers = draw(st.permutations(range(len(sizes))))
            entries = [f'"layer{i}"' for i in layers]
        else:
            entries = [str(i) for i in draw(st.permutations(range(1, len(made) + 1)))]
        order = f"order = [{', '.join(entries)}]"
    return f"{kind} {{ {' '.join([order, group, *axes])} }}", made


@settings(max_examples=300, deadline=None)
@given(layouts())
def test_every_unit_is_introduced_once_and_trained(case: tuple[str, list[Reference]]) -> None:
    text, made = case
    if contradicts(text):
        return
    wanted = schedule(text)
    stages = lay_out(wanted, made)
    names = sorted(unit.name for unit in made)
    assert sorted(name for stage in stages for name in stage.introduces) == names
    assert sorted(name for stage in stages for name in stage.newest) == names
    assert {name for stage in stages for name in stage.trains} == set(names)
    introduced: set[str] = set()
    for number, stage in enumerate(stages, 1):
        introduced |= set(stage.introduces)
        assert stage.number == number
        assert stage.newest
        assert set(stage.newest) <= set(stage.trains) <= introduced
        assert len(set(stage.trains)) == len(stage.trains)
    if wanted.axes.train == "introduced":
        assert sorted(stages[-1].trains) == names


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 9))
def test_groups_of_a_size(sizes: list[int], size: int) -> None:
    made = units(sizes)
    stages = lay_out(schedule(f"sequential {{ group = {size} }}"), made)
    assert [name for stage in stages for name in stage.newest] == [unit.name for unit in made]
    assert all(len(stage.newest) == size for stage in stages[:-1])
    assert 1 <= len(stages[-1].newest) <= size


@pytest.mark.parametrize(
    ("pattern", "path", "name"),
    [
        ("layer{i}", "layer1.0.conv1", "layer1"),
        ("layer{i}", "layer12", "layer12"),
        ("layer{i}", "layer", None),
        ("layer{i}", "player1.conv", None),
        ("layer{i}.{j}", "layer1.0.conv1", "layer1.0"),
        ("layer{i}.{i}", "layer1.0.conv1", None),
        ("layer{i}.{i}", "layer1.1.conv1", "layer1.1"),
        ("transformer.h.{i}", "transformer.h.7.attn", "transformer.h.7"),
        ("*.h.{i}.attn", "transformer.h.7.attn.c", "*.h.7.attn"),
        ("conv1", "conv1", "conv1"),
        ("conv1", "layer1.conv1", None),
        ("*.conv{n}", "a.b.conv3", "*.conv3"),
        ("conv[12]", "conv2", "conv[12]"),
        ("a.b", "axb", None),
    ],
)
def test_the_name_of_a_group(pattern: str, path: str, name: str | None) -> None:
    assert group_name(pattern, path) == name
