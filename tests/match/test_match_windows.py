"""Windows over blocks: they partition them in order, and cross no boundary unasked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theseus_fx.lang import syntax
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.source import Source
from theseus_fx.lang.spec import At, Every
from theseus_fx.match.blocks import Block
from theseus_fx.match.pairs import advice
from theseus_fx.match.windows import Window, at, every, group_key, groups, split

PLACE = Source("x", "windows").span(0, 7)
RESNET50, RESNET18 = (3, 4, 6, 3), (2, 2, 2, 2)


def network(layers: Sequence[int]) -> list[Block]:
    """Blocks of layers with as many blocks each; a layer has a module and a shape of its own."""
    return [
        Block(
            name=f"layer{layer}.{number}",
            path=f"layer{layer}.{number}",
            node=f"layer{layer}_{number}",
            shape=("batch", 2**layer),
        )
        for layer, many in enumerate(layers, 1)
        for number in range(many)
    ]


def names(windows: Sequence[Window]) -> list[str]:
    return [" ".join(block.name.removeprefix("layer") for block in window) for window in windows]


def clause(count: int, crossing: Literal["error", "allow", "cut"] = "error") -> Every:
    return Every(count=count, crossing=crossing, span=PLACE)


def ends(*listed: str | int) -> At:
    return At(ends=listed, places=(PLACE,) * len(listed), span=PLACE)


def pattern(text: str) -> syntax.Text:
    return syntax.Text(text, PLACE)


def refused(code: str, caught: pytest.ExceptionInfo[Rejected]) -> Diagnostic:
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == code
    assert diagnostic.render()
    return diagnostic


LAYERS = st.lists(st.integers(1, 7), min_size=1, max_size=5)


# --- properties --------------------------------------------------------------------------------------


@given(LAYERS, st.integers(1, 8))
def test_cut_windows_partition_the_blocks_and_stay_within_layers(layers: list[int], count: int) -> None:
    blocks = network(layers)
    windows = every(blocks, clause(count, "cut"))
    assert [block for window in windows for block in window] == blocks
    assert all(1 <= len(window) <= count for window in windows)
    assert all(len({block.parent for block in window}) == 1 for window in windows)
    assert len(windows) == sum(-(-many // count) for many in layers)


@given(LAYERS, st.integers(1, 8), st.sampled_from(("error", "allow")))
def test_whole_windows_partition_the_blocks_or_are_refused(
    layers: list[int], count: int, crossing: Literal["error", "allow"]
) -> None:
    blocks = network(layers)
    within = all(len({b.parent for b in blocks[i : i + count]}) == 1 for i in range(0, len(blocks), count))
    if (within or crossing == "allow") and len(blocks) % count == 0:
        windows = every(blocks, clause(count, crossing))
        assert [block for window in windows for block in window] == blocks
        assert {len(window) for window in windows} == {count}
        return
    with pytest.raises(Rejected) as caught:
        every(blocks, clause(count, crossing))
    refused("THX422" if within or crossing == "allow" else "THX423", caught)


@given(st.integers(1, 40), st.data())
def test_split_windows_partition_the_blocks_and_differ_by_one(many: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, many))
    blocks = network([many])
    windows = split(blocks, count)
    assert [block for window in windows for block in window] == blocks
    sizes = [len(window) for window in windows]
    assert len(sizes) == count
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


@given(LAYERS)
def test_groups_partition_the_blocks(layers: list[int]) -> None:
    blocks = network(layers)
    windows = groups(blocks, pattern("layer{i}"))
    assert [block for window in windows for block in window] == blocks
    assert [len(window) for window in windows] == layers


@given(st.integers(1, 20), st.data())
def test_listed_ends_partition_the_blocks_up_to_the_last(many: int, data: st.DataObject) -> None:
    blocks = network([many])
    numbers = sorted(data.draw(st.sets(st.integers(1, many), min_size=1)))
    listed = [data.draw(st.sampled_from((n, blocks[n - 1].path))) for n in numbers]
    windows = at(blocks, ends(*listed))
    assert [block for window in windows for block in window] == blocks[: numbers[-1]]
    assert [window[-1] for window in windows] == [blocks[n - 1] for n in numbers]


# --- policies ----------------------------------------------------------------------------------------


def test_a_window_does_not_cross_a_layer_unasked() -> None:
    with pytest.raises(Rejected) as caught:
        every(network(RESNET50), clause(2), advice=["do this"])
    found = refused("THX423", caught)
    assert found.message == (
        "a window of 2 goes from `layer1.2` (batch, 2) to `layer2.0` (batch, 4) (2 more like it)"
    )
    assert found.help[0] == "do this"
    assert "crossing = cut" in found.help[1]
    assert len(every(network(RESNET50), clause(2, "allow"))) == 8
    assert len(every(network(RESNET50), clause(2, "cut"))) == 9


@pytest.mark.parametrize("change", [{"path": "other.1"}, {"shape": ("batch", 9)}])
def test_a_boundary_is_another_module_or_another_shape(change: dict[str, object]) -> None:
    first, second = network([2])
    moved = Block(**{"name": "b", "path": second.path, "node": "b", "shape": second.shape, **change})  # type: ignore[arg-type]
    assert len(every([first, second], clause(2))) == 1
    assert len(every([first, moved], clause(2, "cut"))) == 2
    with pytest.raises(Rejected):
        every([first, moved], clause(2))


def test_resnet50_split_to_resnet18() -> None:
    own = groups(network(RESNET50), pattern("layer{i}"))
    windows = [window for group in own for window in split(group, 2)]
    assert names(windows) == [
        "1.0 1.1", "1.2", "2.0 2.1", "2.2 2.3", "3.0 3.1 3.2", "3.3 3.4 3.5", "4.0 4.1", "4.2",
    ]  # fmt: skip


def test_blocks_left_over_are_named() -> None:
    with pytest.raises(Rejected) as caught:
        every(network([16]), clause(3))
    assert refused("THX422", caught).message.startswith(
        "16 blocks are no whole number of windows of 3: 1 left"
    )


@pytest.mark.parametrize(
    ("listed", "message", "fix"),
    [
        ([1, 4], "there are 3 blocks, there is no number 4", ""),
        (["layer1.O"], "`layer1.O` is none of the 3 blocks", "`layer1.0`"),
        ([2, 1], "`layer1.0` does not come after `layer1.1`", "in the order"),
        (["layer1.1", 2], "`layer1.1` does not come after `layer1.1`", "once"),
    ],
)
def test_ends_that_do_not_fit(listed: list[str | int], message: str, fix: str) -> None:
    with pytest.raises(Rejected) as caught:
        at(network([3]), ends(*listed))
    found = refused("THX425", caught)
    assert found.message == message
    assert fix in " ".join(found.help)


def test_a_repeated_call_is_named_by_its_number() -> None:
    blocks = [
        Block(name=f"layer#{n}", path="layer", node=f"layer_{n}", shape=("batch", 2)) for n in range(1, 5)
    ]
    assert [len(window) for window in at(blocks, ends("layer#1", "layer#4"))] == [1, 3]


# --- groups ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "key"),
    [
        ("layer{i}", "layer3.0", ("3",)),
        ("layer{i}", "layer3", ("3",)),
        ("layer{i}", "a.layer3", None),
        ("*layer{i}", "a.layer3.conv", ("3",)),
        ("transformer.h.{i}", "transformer.h.11", ("11",)),
        ("{i}", "features.3.0", ("features",)),
        ("features.{stage}.{block}", "features.3.0", ("3", "0")),
        ("layer{i}.{i}", "layer3.3", ("3",)),
        ("layer{i}.{i}", "layer3.4", None),
        ("layer?.{i}", "layer3.4", ("4",)),
        ("la(yer{i}", "la(yer3", ("3",)),
    ],
)
def test_keys(text: str, path: str, key: tuple[str, ...] | None) -> None:
    assert group_key(text, path) == key


def test_blocks_outside_all_groups_are_named() -> None:
    with pytest.raises(Rejected) as caught:
        groups(network([2, 3]), pattern("layer1.{i}"))
    assert refused("THX424", caught).message == '"layer1.{i}" does not fit layer2.0, layer2.1, layer2.2'


def test_a_group_with_others_in_between_is_refused() -> None:
    with pytest.raises(Rejected) as caught:
        groups(network([2, 2]), pattern("layer*.{i}"))
    assert "`layer1.0` and `layer2.0` are of one group" in refused("THX424", caught).message


# --- advice ------------------------------------------------------------------------------------------


def test_the_advice_is_right() -> None:
    guides, targets = network(RESNET50), network(RESNET18)
    split_by, listed = advice(guides, targets)
    assert '`split by "layer{i}"`' in split_by
    windows = at(guides, ends(*(text for text in listed.split('"')[1::2])))
    assert [len(window) for window in windows] == [2, 1, 2, 2, 3, 3, 2, 1]


@given(LAYERS, LAYERS)
def test_a_list_that_is_advised_has_a_window_for_each_block(
    of_guide: list[int], of_target: list[int]
) -> None:
    guides, targets = network(of_guide), network(of_target)
    hints = advice(guides, targets)
    if len(guides) < len(targets):
        assert "the target has more blocks" in hints[0]
        return
    windows = at(guides, ends(*hints[-1].split('"')[1::2]))
    assert len(windows) == len(targets)
    assert windows[-1][-1] == guides[-1]
    assert all(a[-1] != b[-1] for a, b in pairwise(windows))
