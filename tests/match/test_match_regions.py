"""Rules over operations: their sites, beside rules over modules; and why there are none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from theseus_fx.lang.diagnostics import Diagnostic
from theseus_fx.match.matcher import Site
from theseus_fx.models.zoo import SmallResNet

Match = Callable[..., tuple[Site, ...]]
Refuse = Callable[..., tuple[Diagnostic, ...]]

RESIDUAL = """
pattern residual(x) {
  main = x |> Conv2d(kernel_size = 3) |> BatchNorm2d |> ReLU |> Conv2d(kernel_size = 3) |> BatchNorm2d
  skip = x or (x |> Conv2d(kernel_size = 1) |> BatchNorm2d)
  return ReLU(main + skip)
}
"""


def rule(match: str, name: str = "r") -> str:
    return f"rule {name} {{ match {match}  replace with identity }}"


def said(diagnostic: Diagnostic) -> str:
    return "\n".join((diagnostic.message, *diagnostic.help))


def test_regions_are_sites_in_execution_order(sites: Match) -> None:
    found = sites(SmallResNet(width=4), RESIDUAL + rule("residual as r expect 3", "block"))
    assert [str(s) for s in found] == ["block[1] layer1.0", "block[2] layer2.0", "block[3] layer3.0"]
    second = found[1]
    assert (second.module_class, second.description) == ("residual", "residual: 9 operations")
    assert (second.input.shape, second.output.shape) == (("batch", 4, 16, 16), ("batch", 8, 8, 8))
    assert (second.input_node, second.node) == (found[0].node, "layer2_0_relu_1")
    assert second.region is not None
    assert second.region.inputs == (found[0].node,)
    assert second.modules == tuple(
        f"layer2.0.{name}"
        for name in ("downsample.0", "downsample.1", "conv1", "bn1", "relu", "conv2", "bn2")
    )


def test_rules_over_operations_and_over_modules_stand_side_by_side(sites: Match) -> None:
    text = RESIDUAL + rule('residual in "layer2"', "block") + rule('Conv2d keep "layer2"', "conv")
    found = sites(SmallResNet(), text)
    assert [s.name for s in found] == [
        "conv[1]", "conv[2]", "conv[3]", "block[1]", "conv[4]", "conv[5]", "conv[6]",
    ]  # fmt: skip
    assert [s.region is None for s in found] == [s.rule.name == "conv" for s in found]


@pytest.mark.parametrize(
    ("clauses", "expected"),
    [
        ('in "layer1"', ["layer1.0"]),
        ('in "layer*" keep "layer2"', ["layer1.0", "layer3.0"]),
        ('keep "*.downsample"', ["layer1.0"]),
        ("where r.in.channels <= 8", ["layer1.0", "layer2.0"]),
        ("where r.out.shape[2] == 8 and r.out.channels == 16", ["layer2.0"]),
        ("where r.main.shape[1] > 16", ["layer3.0"]),
        ("where r.main.num_features > 16", ["layer3.0"]),
        ("where r.skip.channels == r.in.channels", ["layer1.0"]),
    ],
)
def test_regions_are_narrowed_by_paths_and_by_where(sites: Match, clauses: str, expected: list[str]) -> None:
    found = sites(SmallResNet(width=8), RESIDUAL + rule(f"residual as r {clauses}"))
    assert [site.path for site in found] == expected


def test_chains_and_functions_are_regions(sites: Match) -> None:
    found = sites(SmallResNet(), rule("Conv2d |> BatchNorm2d |> ReLU as r"))
    assert [s.path for s in found] == ["conv1..relu", "layer1.0", "layer2.0", "layer3.0"]
    assert found[0].modules == ("conv1", "bn1", "relu")
    assert "layer1.0.relu" not in found[1].modules
    assert [s.path for s in sites(SmallResNet(), rule("flatten as f"))] == ["flatten"]


def test_where_nothing_is_found_the_nearest_attempts_are_told(refused: Refuse) -> None:
    text = RESIDUAL.replace("kernel_size = 3) |> BatchNorm2d\n", "kernel_size = 5) |> BatchNorm2d\n")
    (diagnostic,) = refused(SmallResNet(), text + rule("residual as r"))
    assert diagnostic.code == "THX401"
    assert diagnostic.help[0] == (
        "nearly: 3 x 3 steps match, then `Conv2d` does not: layer1.0.conv2 has kernel_size = [3, 3], not 5"
    )
    assert [label.span.text for label in diagnostic.secondary] == ["Conv2d(kernel_size = 5)"]


def test_another_count_says_what_was_found_and_what_nearly(refused: Refuse) -> None:
    text = RESIDUAL.replace("x or (x |> Conv2d(kernel_size = 1) |> BatchNorm2d)", "x")
    (diagnostic,) = refused(SmallResNet(), text + rule("residual as r expect 3"))
    assert diagnostic.code == "THX402"
    assert diagnostic.message == "rule `r` expects 3 parts and found 1"
    assert "found: layer1.0" in diagnostic.help
    assert "nearly: 1 x " in said(diagnostic)
    assert diagnostic.help[-1] == "if that is right, write `expect 1`"


def test_a_pattern_whose_last_step_never_occurs_says_so(refused: Refuse) -> None:
    (diagnostic,) = refused(SmallResNet(), rule("Conv2d |> GELU"))
    assert diagnostic.help == ("no operation of the guide is the last step of `chain`",)


@pytest.mark.parametrize(
    ("match", "code", "place", "near"),
    [
        ("Conv2d |> BatchNrm2d", "THX303", "BatchNrm2d", "`BatchNorm2d`"),
        ("Conv2d |> residul |> ReLU", "THX201", "residul", "`residual`"),
        ("flaten", "THX201", "flaten", "`flatten`"),
    ],
)
def test_names_that_mean_nothing_are_told_with_near_ones(
    refused: Refuse, match: str, code: str, place: str, near: str
) -> None:
    text = RESIDUAL + rule("residual", "other") + rule(match)
    (diagnostic,) = refused(SmallResNet(), text)
    assert diagnostic.primary is not None
    assert (diagnostic.code, diagnostic.primary.span.text) == (code, place)
    assert near in said(diagnostic)


@pytest.mark.parametrize(
    ("match", "code", "help_"),
    [
        ("residual as r", "THX201", '`residual` is in the standard library: write `use "std/patterns.thx"`'),
        ("Conv2d |> mlp", "THX201", '`mlp` is in the standard library: write `use "std/patterns.thx"`'),
        ("residul", "THX201", "did you mean `residual`?"),
        ("FlatMLP |> relu", "THX303",
         "`FlatMLP` of `std/low_rank.thx` is a replacement: it stands after `replace with`, and `match` "
         "names what the guide has"),
        ("FlatMLP as c", "THX401",
         "`FlatMLP` of `std/low_rank.thx` is a replacement: it stands after `replace with`, and `match` "
         "names what the guide has"),
    ],
)  # fmt: skip
def test_names_of_the_library_are_known_without_use(
    refused: Refuse, match: str, code: str, help_: str
) -> None:
    (diagnostic,) = refused(SmallResNet(), rule(match))
    assert (diagnostic.code, diagnostic.help[0]) == (code, help_)


def test_a_mistake_in_where_is_told_once(refused: Refuse) -> None:
    (diagnostic,) = refused(SmallResNet(), RESIDUAL + rule("residual as r where r.mian.channels > 4"))
    assert diagnostic.code == "THX201"
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.text == "mian"
    assert "`main`" in said(diagnostic)


@pytest.mark.parametrize("region_first", [True, False])
def test_a_module_inside_a_region_is_claimed_twice(refused: Refuse, region_first: bool) -> None:
    rules = [rule("residual as r", "block"), rule("Conv2d as c", "conv")]
    text = RESIDUAL + "\n".join(rules if region_first else rules[::-1])
    (diagnostic,) = refused(SmallResNet(), text)
    assert diagnostic.code == "THX403"
    assert diagnostic.message == "rules `conv` and `block` both claim operations of `layer1.0`"
    assert diagnostic.primary is not None
    places = {diagnostic.primary.span.text, diagnostic.secondary[0].span.text}
    assert places == {"match residual as r", "match Conv2d as c"}


def test_a_container_around_a_region_and_two_regions_are_claimed_twice(refused: Refuse) -> None:
    text = RESIDUAL + rule("residual", "block") + rule('BasicBlock in "layer1"', "whole")
    assert [d.code for d in refused(SmallResNet(), text)] == ["THX403"]
    text = RESIDUAL + rule("residual", "block") + rule("Conv2d |> BatchNorm2d |> ReLU", "piece")
    (diagnostic,) = refused(SmallResNet(), text)
    assert diagnostic.message == "rules `block` and `piece` both claim operations of `layer1.0`"


def test_a_region_with_further_activations_takes_them_by_name(sites: Match) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return (self.a(x) + self.b(x)).relu()

    (site,) = sites(Two(), rule("add(_) |> relu"), (4,))
    assert len(site.inputs) == 2
    assert site.input_node == site.inputs[0].node
    assert {entry.value.shape for entry in site.inputs} == {("batch", 4)}
