"""What a rule matches: classes, attributes, globs, `where`; in which order, under which names."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from theseus_fx.match.matcher import Site
from theseus_fx.models.zoo import SmallResNet

Match = Callable[..., tuple[Site, ...]]

CONVOLUTIONS = [
    "conv1",
    "layer1.0.conv1",
    "layer1.0.conv2",
    "layer2.0.downsample.0",
    "layer2.0.conv1",
    "layer2.0.conv2",
    "layer3.0.downsample.0",
    "layer3.0.conv1",
    "layer3.0.conv2",
]
"""Of a small ResNet, in the order in which its blocks call them: the shortcut comes first."""


class Gelled(nn.Conv2d):
    """A class of its own with a base of torch's."""


class Odd(nn.Module):
    """One module of each kind of attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 4, 3, padding=1)
        self.reflecting = Gelled(4, 4, 3, padding=1, padding_mode="reflect", bias=False)
        self.wide = nn.Conv2d(4, 4, (1, 3), padding=(0, 1))
        self.same = nn.Conv2d(4, 8, 3, padding="same", stride=1, groups=4)
        self.norm = nn.BatchNorm2d(8, eps=1e-3, affine=False)
        self.idle = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.same(self.wide(self.reflecting(self.plain(x)))))


def rule(match: str, name: str = "r") -> str:
    return f"rule {name} {{ match {match}  replace with identity }}"


def paths(found: tuple[Site, ...]) -> list[str]:
    return [site.path for site in found]


def test_sites_come_in_execution_order_and_are_numbered(sites: Match) -> None:
    found = sites(SmallResNet(), rule("Conv2d", "conv"))
    assert paths(found) == CONVOLUTIONS
    assert [site.name for site in found] == [f"conv[{n}]" for n in range(1, 10)]


def test_the_order_is_that_of_the_calls_not_of_the_definitions(sites: Match) -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.second = nn.Conv2d(4, 5, 1)
            self.first = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    assert paths(sites(Backwards(), rule("Conv2d"))) == ["first", "second"]


def test_every_rule_counts_its_own_sites(sites: Match) -> None:
    found = sites(SmallResNet(), rule("Conv2d", "conv") + "\n" + rule("BatchNorm2d", "norm"))
    assert [str(site) for site in found[:4]] == [
        "conv[1] conv1",
        "norm[1] bn1",
        "conv[2] layer1.0.conv1",
        "norm[2] layer1.0.bn1",
    ]
    assert [site.rule.name for site in found].count("norm") == 9


def test_a_site_knows_its_module_and_its_values(sites: Match) -> None:
    (site,) = sites(SmallResNet(width=4), rule('Conv2d as c in "layer2.0.conv1"'))
    assert site.module_class == "Conv2d"
    assert site.description.startswith("Conv2d(4, 8, kernel_size=(3, 3)")
    assert site.input.shape == ("batch", 4, 16, 16)
    assert site.output.shape == ("batch", 8, 8, 8)
    assert site.output.features == 8 * 8 * 8
    part = site.names["c"]
    assert isinstance(part, dict)
    assert part["stride"] == (2, 2)
    assert part["bias"] is False
    assert part["in"] == {"shape": ("batch", 4, 16, 16), "rank": 4, "features": 1024, "channels": 4}


def test_a_model_on_the_meta_device_matches_the_same(sites: Match) -> None:
    with torch.device("meta"):
        model = torchvision.models.resnet18()
    found = sites(model, rule("Conv2d"), (3, 64, 64))
    assert len(found) == 20
    assert paths(found)[0] == "conv1"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("Conv2d", ["plain", "reflecting", "wide", "same"]),
        ("Gelled", ["reflecting"]),
        ("_ConvNd", ["plain", "reflecting", "wide", "same"]),
        ("Conv2d(kernel_size = 3)", ["plain", "reflecting", "same"]),
        ("Conv2d(kernel_size = [3, 3])", ["plain", "reflecting", "same"]),
        ("Conv2d(kernel_size = [1, 3])", ["wide"]),
        ("Conv2d(bias = false)", ["reflecting"]),
        ("Conv2d(bias = true)", ["plain", "wide", "same"]),
        ('Conv2d(padding = "same")', ["same"]),
        ("Conv2d(padding = 1)", ["plain", "reflecting"]),
        ('Conv2d(padding_mode = "reflect")', ["reflecting"]),
        ("Conv2d(groups = 4, kernel_size = 3)", ["same"]),
        ("BatchNorm2d(eps = 1e-3)", ["norm"]),
        ("BatchNorm2d(affine = false)", ["norm"]),
        ("BatchNorm2d(weight = false)", ["norm"]),
    ],
)
def test_classes_count_by_name_and_base_and_attributes_by_value(
    sites: Match, pattern: str, expected: list[str]
) -> None:
    assert paths(sites(Odd(), rule(pattern))) == expected


def test_one_is_not_true(sites: Match) -> None:
    class Flagged(nn.Linear):
        flag: int

    model = nn.Sequential(Flagged(4, 4), Flagged(4, 4))
    for module, flag in zip(model, (True, 1), strict=True):
        vars(module)["flag"] = flag
    assert paths(sites(model, rule("Flagged(flag = true)"), (4,))) == ["0"]
    assert paths(sites(model, rule("Flagged(flag = 1)"), (4,))) == ["1"]


@pytest.mark.parametrize(
    ("clauses", "expected"),
    [
        ('in "layer1"', CONVOLUTIONS[1:3]),
        ('in "layer*"', CONVOLUTIONS[1:]),
        ('in "layer1" in "layer3"', CONVOLUTIONS[1:3] + CONVOLUTIONS[6:]),
        ('in "*.downsample"', [CONVOLUTIONS[3], CONVOLUTIONS[6]]),
        ('in "*.conv1"', [p for p in CONVOLUTIONS if p.endswith(".conv1")]),
        ('in "layer?.0.conv2"', [p for p in CONVOLUTIONS if p.endswith("conv2")]),
        ('in "layer[12]*"', CONVOLUTIONS[1:6]),
        ('keep "conv1"', CONVOLUTIONS[1:]),
        ('keep "layer2" keep "layer3"', CONVOLUTIONS[:3]),
        ('in "layer*" keep "*.downsample*"', [p for p in CONVOLUTIONS[1:] if "down" not in p]),
        ('keep "*"  in "conv1"', None),
    ],
)
def test_globs_choose_by_path(sites: Match, clauses: str, expected: list[str] | None) -> None:
    text = f"rule r {{ match Conv2d {clauses} replace with identity }}"
    if expected is None:
        with pytest.raises(Exception, match="matched nothing"):
            sites(SmallResNet(), text)
    else:
        assert paths(sites(SmallResNet(), text)) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("c.in.channels <= 8 and c.out.shape[2] > 8", CONVOLUTIONS[:3]),
        ("c.in.channels != c.out.channels", ["conv1", *CONVOLUTIONS[3:5], *CONVOLUTIONS[6:8]]),
        ("c.kernel_size == 1", [CONVOLUTIONS[3], CONVOLUTIONS[6]]),
        ("c.stride == [2, 2] and not (c.kernel_size == 1)", [CONVOLUTIONS[4], CONVOLUTIONS[7]]),
        ("c.out.features == 4 * bound", [p for p in CONVOLUTIONS if p.startswith("layer3")]),
        ("c.out.rank == 4 and c.out_channels > 2 * 8", [p for p in CONVOLUTIONS if "layer3" in p]),
    ],
)
def test_where_narrows_by_attributes_and_shapes(sites: Match, condition: str, expected: list[str]) -> None:
    text = f"param bound = 128\nrule r {{ match Conv2d as c where {condition} replace with identity }}"
    if "bound" not in condition:
        text = text.partition("\n")[2]
    assert paths(sites(SmallResNet(width=8), text)) == expected


def test_a_container_can_be_matched_beside_modules_elsewhere(sites: Match) -> None:
    blocks = 'rule block { match BasicBlock in "layer1" replace with identity }'
    others = 'rule conv { match Conv2d keep "layer1" replace with identity }'
    for text in (f"{blocks}\n{others}", f"{others}\n{blocks}"):
        found = sites(SmallResNet(), text)
        assert [str(s) for s in found[:3]] == [
            "conv[1] conv1",
            "block[1] layer1.0",
            "conv[2] layer2.0.downsample.0",
        ]
        assert len(found) == 8


def test_an_expected_count_that_is_found_passes(sites: Match) -> None:
    assert len(sites(SmallResNet(), "rule r { match Conv2d expect 9 replace with identity }")) == 9
