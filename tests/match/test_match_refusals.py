"""Why rules are refused: nothing found, another count, overlaps, modules that are no part; all at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from theseus_fx.lang.diagnostics import Diagnostic
from theseus_fx.models.zoo import SmallResNet

Refuse = Callable[..., tuple[Diagnostic, ...]]


def rule(clauses: str, name: str = "r") -> str:
    return f"rule {name} {{ match {clauses} replace with identity }}"


def said(diagnostic: Diagnostic) -> str:
    return "\n".join((diagnostic.message, *diagnostic.help))


def blamed(diagnostic: Diagnostic) -> str:
    assert diagnostic.primary is not None
    return diagnostic.primary.span.text


class Twice(nn.Module):
    """Calls one convolution twice, another never."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Conv2d(3, 3, 1)
        self.once = nn.Conv2d(3, 3, 1)
        self.idle = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.once(self.again(self.again(x)))


class Added(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Split(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, x - 1


class Wrapped(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return x * 2, None


class Manifold(nn.Module):
    """A module with two inputs, one with two outputs, one whose output is wrapped, one that is unused."""

    def __init__(self) -> None:
        super().__init__()
        self.split = Split()
        self.added = Added()
        self.wrapped = Wrapped()
        self.unused = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.split(x)
        c, _ = self.wrapped(self.added(a, b))
        self.unused(c)
        return c


def test_a_class_that_is_not_there_gets_near_names(refused: Refuse) -> None:
    (diagnostic,) = refused(SmallResNet(), rule("Conv2dd as c"))
    assert diagnostic.code == "THX401"
    assert blamed(diagnostic) == "Conv2dd"
    assert diagnostic.help == ("did you mean `Conv2d`?",)


def test_a_class_without_near_names_gets_those_of_the_guide(refused: Refuse) -> None:
    (diagnostic,) = refused(SmallResNet(), rule("Attention"))
    assert "classes of the guide" in said(diagnostic)
    assert "`Conv2d`" in said(diagnostic)
    assert "_ConvNd" not in said(diagnostic)


@pytest.mark.parametrize(
    ("clauses", "reason"),
    [
        ("Conv2d(kernel_size = 5)", "nearly: 7 x Conv2d has kernel_size = [3, 3], not 5 (first: conv1)"),
        ("Conv2d(kernal_size = 3)", "nearly: 9 x Conv2d has no attribute `kernal_size`, but `kernel_size`"),
        ("Conv2d(bias = true)", "has bias = false, not true"),
        ('Conv2d in "fc"', 'nearly: 9 x Conv2d is not in "fc" (first: conv1)'),
        ('Conv2d keep "conv1" keep "layer*"', 'nearly: 9 x Conv2d is kept by "conv1" or "layer*"'),
        ("Conv2d as c where c.in.channels > 99", "nearly: 9 x Conv2d does not fulfil `where` (first: conv1)"),
    ],
)
def test_the_nearest_misses_say_where_they_stopped(refused: Refuse, clauses: str, reason: str) -> None:
    (diagnostic,) = refused(SmallResNet(), rule(clauses))
    assert diagnostic.code == "THX401"
    assert reason in said(diagnostic)


def test_the_miss_that_came_furthest_stands_first(refused: Refuse) -> None:
    clauses = 'Conv2d(kernel_size = 3) as c in "layer*" where c.in.channels > 99'
    (diagnostic,) = refused(SmallResNet(), rule(clauses))
    first, second, third = diagnostic.help
    assert "6 x Conv2d does not fulfil `where` (first: layer1.0.conv1)" in first
    assert '1 x Conv2d is not in "layer*" (first: conv1)' in second
    assert "2 x Conv2d has kernel_size = [1, 1], not 3" in third


def test_a_module_that_is_never_called_is_named(refused: Refuse) -> None:
    (diagnostic,) = refused(Twice(), rule('Conv2d in "idle"'))
    assert "never called in a forward pass: idle" in said(diagnostic)


def test_another_count_says_what_was_found_and_what_nearly(refused: Refuse) -> None:
    clauses = "Conv2d(kernel_size = 3) expect 9"
    (diagnostic,) = refused(SmallResNet(), rule(clauses))
    assert diagnostic.code == "THX402"
    assert blamed(diagnostic) == "9"
    assert diagnostic.message == "rule `r` expects 9 parts and found 7"
    assert "found: conv1, layer1.0.conv1, layer1.0.conv2" in said(diagnostic)
    assert "and 1 more" in said(diagnostic)
    assert "nearly: 2 x Conv2d has kernel_size = [1, 1], not 3 (first: layer2.0.downsample.0)" in said(
        diagnostic
    )
    assert "if that is right, write `expect 7`" in diagnostic.help


def test_two_rules_on_one_module_show_both_places(refused: Refuse) -> None:
    text = rule("Conv2d as a", "one") + "\n" + rule('Conv2d as b in "layer3"', "two")
    (diagnostic,) = refused(SmallResNet(), text)
    assert diagnostic.code == "THX403"
    assert diagnostic.message == "rules `one` and `two` both claim `layer3.0.downsample.0`"
    assert blamed(diagnostic).endswith("Conv2d as b")
    assert diagnostic.secondary[0].span.text.endswith("Conv2d as a")
    assert diagnostic.help[-1] == "the same holds for 2 more parts"


@pytest.mark.parametrize("container_first", [True, False])
def test_a_container_and_what_is_inside_it_overlap_in_either_order(
    refused: Refuse, container_first: bool
) -> None:
    rules = [rule("BasicBlock as a", "whole"), rule("Conv2d as b", "piece")]
    (diagnostic,) = refused(SmallResNet(), "\n".join(rules if container_first else rules[::-1]))
    assert diagnostic.code == "THX403"
    assert diagnostic.message == "rule `whole` claims `layer1.0`, `piece` claims `layer1.0.conv1` inside it"
    assert blamed(diagnostic).endswith("Conv2d as b" if container_first else "BasicBlock as a")
    assert diagnostic.help == ('leave it whole: `keep "layer1.0"` in rule `piece`', _more(7))


def test_one_rule_cannot_take_a_container_and_its_inside(refused: Refuse) -> None:
    model = nn.Sequential(nn.Sequential(nn.Sequential(nn.Linear(4, 4))))
    (diagnostic,) = refused(model, rule("Sequential"), (4,))
    assert diagnostic.code == "THX403"
    assert diagnostic.message == "rule `r` matches `0` and also `0.0` inside it"


def _more(count: int) -> str:
    return f"the same holds for {count} more parts"


def test_a_glob_that_fits_nothing_is_named_and_nothing_follows_from_it(refused: Refuse) -> None:
    (diagnostic,) = refused(SmallResNet(), rule('Conv2d in "layr1" expect 2'))
    assert diagnostic.code == "THX404"
    assert blamed(diagnostic) == '"layr1"'
    assert "`layer1`" in said(diagnostic)


def test_each_of_several_globs_is_judged(refused: Refuse) -> None:
    found = refused(SmallResNet(), rule('Conv2d in "layer1" in "nowhere" keep "neither"'))
    assert [(d.code, blamed(d)) for d in found] == [("THX404", '"nowhere"'), ("THX404", '"neither"')]


def test_a_module_that_is_called_twice_is_no_part(refused: Refuse) -> None:
    (diagnostic,) = refused(Twice(), rule("Conv2d expect 2"))
    assert diagnostic.code == "THX405"
    assert diagnostic.message == "`again` is called 2 times in one forward pass"
    assert diagnostic.help == ('exclude it with `keep "again"`',)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Split", "`split` returns 2 tensors that the model uses, [0] and [1]; a part has one"),
        ("ReLU", "`unused` returns no tensor that the model uses; a part has one output"),
    ],
)
def test_a_part_has_one_output(refused: Refuse, name: str, message: str) -> None:
    (diagnostic,) = refused(Manifold(), rule(name), (4,))
    assert (diagnostic.code, diagnostic.message) == ("THX405", message)


def test_parts_that_are_wrong_alike_are_one_diagnostic(refused: Refuse) -> None:
    model = nn.Sequential(nn.Linear(4, 4), *(SmallSplit() for _ in range(3)))
    (diagnostic,) = refused(model, rule("Split"), (4,))
    assert diagnostic.code == "THX405"
    assert diagnostic.help[-1] == _more(2)


class SmallSplit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.split = Split()

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.split(x)
        return a * b


def test_problems_of_all_rules_come_together(refused: Refuse) -> None:
    text = "\n".join(
        [
            rule("Conv2d expect 8", "one"),
            rule("Conv2dd", "two"),
            rule('Conv2d as c in "layer3"', "three"),
            rule('Linear in "fcc"', "four"),
        ]
    )
    assert [d.code for d in refused(SmallResNet(), text)] == ["THX402", "THX401", "THX404", "THX403"]


@pytest.mark.parametrize(
    ("condition", "code", "place"),
    [
        ("c.kernal_size == 3", "THX201", "kernal_size"),
        ("c.in.chanels <= 16", "THX201", "chanels"),
        ("c.out.shape[7] > 4", "THX208", "c.out.shape[7]"),
        ("c.in.channels + 1", "THX203", "c.in.channels + 1"),
    ],
)
def test_a_mistake_in_where_is_told_once_beside_the_others(
    refused: Refuse, condition: str, code: str, place: str
) -> None:
    text = rule(f"Conv2d as c where {condition}") + "\n" + rule("Liner", "other")
    first, second = refused(SmallResNet(), text)
    assert (first.code, blamed(first)) == (code, place)
    assert second.code == "THX401"


def test_a_value_that_no_sample_changes_is_no_part(refused: Refuse) -> None:
    class Positioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.position = nn.Embedding(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.position(torch.arange(4)).squeeze(1)

    (diagnostic,) = refused(Positioned(), rule("Embedding"), (4,))
    assert diagnostic.code == "THX405"
    assert diagnostic.message == "`position` returns the same for every sample; a part has a row for each"
