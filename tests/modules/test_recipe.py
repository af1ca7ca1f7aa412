"""Recipes: sizes, names of children, seeds, JSON."""

from __future__ import annotations

import copy

import torch

from theseus_fx.modules.recipe import PRIMARY, Argument, Recipe, Step, Wire


def chain(*steps: tuple[str, dict[str, Argument]]) -> Recipe:
    wires: list[Wire] = [PRIMARY, *range(len(steps))]
    made = [Step(kind=k, arguments=a, inputs=(wire,)) for (k, a), wire in zip(steps, wires, strict=False)]
    return Recipe(name="x", steps=tuple(made), output=wires[-1])


def low_rank(*, bias: bool = True, first_bias: bool = False) -> Recipe:
    return chain(
        ("flatten", {"start_dim": 1}),
        ("Linear", {"in_features": 48, "out_features": 5, "bias": first_bias}),
        ("Linear", {"in_features": 5, "out_features": 32, "bias": bias}),
        ("reshape", {"shape": ("batch", 2, 4, 4)}),
    )


def test_children_are_named_after_their_steps() -> None:
    module = low_rank().make(seed=0)
    assert list(dict(module.named_children())) == ["flatten", "linear_1", "linear_2", "reshape"]
    assert set(module.state_dict()) == {"linear_1.weight", "linear_2.weight", "linear_2.bias"}
    assert module(torch.zeros(3, 3, 4, 4)).shape == (3, 2, 4, 4)


def test_parameters_are_counted_without_memory() -> None:
    assert low_rank().parameter_count() == 48 * 5 + 5 * 32 + 32


def test_a_seed_decides_the_start_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one, two, other = (low_rank().make(seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.get_parameter("linear_1.weight"), two.get_parameter("linear_1.weight"))
    assert not torch.equal(one.get_parameter("linear_1.weight"), other.get_parameter("linear_1.weight"))


def test_json_gives_the_recipe_back() -> None:
    assert Recipe.from_json(low_rank().as_json()) == low_rank()


def test_a_wired_recipe_is_a_graph_with_the_same_names() -> None:
    recipe = Recipe(
        name="Residual",
        steps=(
            Step(kind="Linear", arguments={"in_features": 4, "out_features": 4}, inputs=(PRIMARY,)),
            Step(kind="add", arguments={}, inputs=(0, "mask")),
            Step(kind="mul", arguments={"left": 0.5}, inputs=(1,)),
        ),
        output=2,
    )
    assert (recipe.chain, recipe.inputs) == (False, (PRIMARY, "mask"))
    assert Recipe.from_json(recipe.as_json()) == recipe
    module = recipe.make(seed=0)
    assert set(module.state_dict()) == {"linear.weight", "linear.bias"}
    x, mask = torch.randn(2, 3, 4), torch.randn(2, 1, 4)
    assert torch.equal(module(x, mask), 0.5 * (module.get_submodule("linear")(x) + mask))
    assert torch.equal(copy.deepcopy(module)(x, mask), module(x, mask))
    assert str(recipe).endswith("add = add() of linear, mask; mul = mul(left=0.5) of add; return mul")


def test_no_steps_are_the_identity() -> None:
    recipe = Recipe(name="it", steps=(), output=PRIMARY)
    x = torch.randn(2, 3)
    assert torch.equal(recipe.make()(x), x)
    assert str(recipe) == "identity()"


def test_the_text_shows_every_step() -> None:
    assert str(low_rank()).startswith(
        "flatten(start_dim=1) |> Linear(in_features=48, out_features=5, bias=False)"
    )
