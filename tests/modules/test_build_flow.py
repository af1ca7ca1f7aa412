"""Replacements that are more than a chain: several values, residuals, tuples, named modules with defaults."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from theseus_fx.graph.values import ValueInfo
from theseus_fx.lang import loader
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.modules.build import Boundary, build
from theseus_fx.modules.recipe import Recipe

TOKENS = (7, 6)


def value(*shape: int | str) -> ValueInfo:
    return ValueInfo(shape=shape, dtype=torch.float32)


def made(
    replacement: str,
    shape: tuple[int, ...] = TOKENS,
    out: tuple[int, ...] = TOKENS,
    *,
    definitions: str = "",
    inputs: Mapping[str, ValueInfo] | None = None,
) -> Recipe:
    text = (
        f"theseus 1\nparam width = 5\n{definitions}\nrule r {{ match Conv2d as c where width > 0\n"
        f"replace with {replacement} }}\nschedule progressive {{ lr = 1e-3  for = 1 steps }}\n"
    )
    spec = loader.loads(text, guide_required=False)
    x, y = value("batch", *shape), value("batch", *out)
    facts = {"shape": y.shape, "channels": y.shape[1], "features": y.features}
    names = {**spec.params, "c": {"in": {"shape": x.shape}, "out": facts}}
    boundary = Boundary(
        part="r[1] conv", input=x, inputs=inputs or {}, output=y, span=spec.rules[0].pattern.span
    )
    return build(spec.rules[0].replacement, boundary, names=names, definitions=spec.modules)


def refused(
    replacement: str, definitions: str = "", inputs: Mapping[str, ValueInfo] | None = None
) -> Diagnostic:
    with pytest.raises(Rejected) as caught:
        made(replacement, definitions=definitions, inputs=inputs)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.render()
    return diagnostic


def run(recipe: Recipe, *inputs: Tensor) -> tuple[nn.Module, Tensor]:
    module = Recipe.from_json(recipe.as_json()).make(seed=0).eval()
    return module, module(*inputs)


X = torch.randn(2, *TOKENS, generator=torch.Generator().manual_seed(0))


def test_a_residual_adds_what_flows_in() -> None:
    module, y = run(made("it + Linear(6)"), X)
    assert torch.equal(y, X + module.get_submodule("linear")(X))


def test_a_chain_in_parentheses_starts_from_the_same_value() -> None:
    module, y = run(made("LayerNorm |> it + (Linear(width) |> relu |> Linear(6))"), X)
    norm, one, two = (module.get_submodule(n) for n in ("layernorm", "linear_1", "linear_2"))
    assert torch.equal(y, norm(X) + two(one(norm(X)).relu()))


@pytest.mark.parametrize(
    ("replacement", "expected"),
    [
        ("0.5 * it", X * 0.5),
        ("1 - it", 1 - X),
        ("it / 4 - width", X / 4 - 5),
        ("-it", -X),
        ("it * it", X * X),
        ("it * sigmoid", X * X.sigmoid()),
        ("sigmoid(it) * it", X * X.sigmoid()),
        ("concat(it, it, dim = 2) |> narrow(2, 3, 6)", torch.cat([X, X], 2)[..., 3:9]),
        ("chunk(2, dim = 2)[1] |> concat(it, it, dim = 2)", X[..., 3:].repeat(1, 1, 2)),
        ("c.in + it", X + X),
        ("it |> relu |> c.in - it", X - X.relu()),
    ],
)
def test_arithmetic_and_functions_of_several_values(replacement: str, expected: Tensor) -> None:
    if "sigmoid" in replacement and "sigmoid(" not in replacement:
        replacement = replacement.replace("sigmoid", "sigmoid()")
    _, y = run(made(replacement), X)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_tuple_is_taken_apart_and_the_batch_is_first(kind: str) -> None:
    module, y = run(made(f"{kind}(6, num_layers = 2)[0]"), X)
    rnn = module.get_submodule(kind.lower())
    assert isinstance(rnn, nn.RNNBase)
    assert (rnn.batch_first, rnn.input_size, rnn.num_layers) == (True, 6, 2)
    torch.testing.assert_close(y, rnn(X)[0])
    torch.testing.assert_close(module(X[:1]), y[:1])


def test_attention_takes_three_values() -> None:
    module, y = run(made("MultiheadAttention(it, it, it, 2)[0]"), X)
    torch.testing.assert_close(y, module.get_submodule("multiheadattention")(X, X, X)[0])


def test_named_values_are_computed_once() -> None:
    definitions = (
        "module Gated(part, hidden = 2 * part.out.shape[2]) { h = Linear(hidden)"
        " return Linear(h, 6) * sigmoid(Linear(h, 6)) + it }"
    )
    recipe = made("Gated(c)", definitions=definitions)
    assert [s.kind for s in recipe.steps] == ["Linear", "Linear", "Linear", "sigmoid", "mul", "add"]
    assert recipe.steps[0].arguments["out_features"] == 12
    assert made("Gated(c, hidden = 3)", definitions=definitions).steps[0].arguments["out_features"] == 3
    module, y = run(recipe, X)
    one, two, three = (module.get_submodule(f"linear_{n}") for n in (1, 2, 3))
    torch.testing.assert_close(y, two(one(X)) * three(one(X)).sigmoid() + X)


def test_sizes_of_values_inside_the_replacement_are_numbers() -> None:
    recipe = made("Linear(8) |> Linear(it.shape[2] // 2) |> Linear(6)")
    assert [s.arguments["out_features"] for s in recipe.steps] == [8, 4, 6]


def test_a_value_that_only_gives_its_size_is_not_kept() -> None:
    definitions = "module M(part) {\n h = Linear(9)\n return Linear(h.shape[2]) |> Linear(6)\n}"
    assert [s.arguments["out_features"] for s in made("M(c)", definitions=definitions).steps] == [9, 6]


def test_a_value_is_an_argument_of_a_named_module() -> None:
    definitions = "module Add(part, x) = it + x\nmodule Twice(part) = Linear(6) |> Add(part, part.in)"
    module, y = run(made("Twice(c)", definitions=definitions), X)
    torch.testing.assert_close(y, module.get_submodule("linear")(X) + X)


def test_a_name_that_the_spec_has_too_is_meant_with_its_namespace() -> None:
    definitions = "module GRU(part) = nn.GRU(6)[0]"
    assert [s.kind for s in made("GRU(c)", definitions=definitions).steps] == ["GRU", "item"]
    assert [s.kind for s in made("nn.LayerNorm |> nn.Linear(6)").steps] == ["LayerNorm", "Linear"]


def test_other_inputs_of_the_part_flow_in_too() -> None:
    inputs = {"mask": value("batch", 1, 6), "pos.0": value("batch", 7, 6), "pos.1": value("batch", 7, 6)}
    recipe = made("Linear(6) |> it * c.inputs.mask + c.inputs.pos[1]", inputs=inputs)
    assert recipe.inputs == ("in", "mask", "pos.1")
    mask, pos = torch.randn(2, 1, 6), torch.randn(2, 7, 6)
    module, y = run(recipe, X, mask, pos)
    torch.testing.assert_close(y, module.get_submodule("linear")(X) * mask + pos)


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replacement", "code", "blamed", "said"),
    [
        ("it", "", "", ""),
        ("it + RNN(6)", "THX502", "RNN(6)", "tuple of 2"),
        ("Linear(6)[0]", "THX502", "Linear(6)[0]", "takes a tuple apart"),
        ("RNN(6)[2]", "THX502", "2", "from 0 to 1"),
        ("it + Linear(4)", "THX502", "it + Linear(4)", "`add` does not accept values of shape"),
        ("Linear(3, it)", "THX502", "it", "come before settings"),
        ('it + "a"', "THX502", '"a"', "arithmetic takes"),
        ("c", "THX502", "c", "no value flows here"),
        ("width", "THX502", "width", "no value flows here"),
        ("c.out", "THX502", "c.out", "no value flows here"),
        ("it |> 3", "THX203", "3", "a replacement is made of modules"),
        ("it > 3", "THX203", "it > 3", "a replacement is made of modules"),
        ("RNN(6, batch_first = false)[0]", "THX205", "RNN(6, batch_first = false)", "always first"),
        ("nn.Lienar(6)", "THX303", "nn.Lienar(6)", "no module or function `Lienar`"),
        ("torch.Linear(6)", "THX203", "torch.Linear", "no module or function"),
        ("ElmanRNN(c)", "THX303", "ElmanRNN(c)", "no module or function"),
        ("c.inputs.maks", "THX201", "maks", "has no `maks`"),
    ],
)
def test_what_does_not_flow_is_told_with_its_place(
    replacement: str, code: str, blamed: str, said: str
) -> None:
    if not code:
        assert made(replacement).steps == ()
        return
    diagnostic = refused(replacement, inputs={"mask": value("batch", 1)})
    assert diagnostic.primary is not None
    assert (diagnostic.code, diagnostic.primary.span.text) == (code, blamed)
    assert said in diagnostic.message


def test_a_module_of_the_standard_library_is_named_with_its_file() -> None:
    assert refused("ElmanRNN(c)").help == (
        '`ElmanRNN` is in the standard library: write `use "std/recurrent.thx"`',
    )


@pytest.mark.parametrize(
    ("definition", "code", "blamed"),
    [
        ("module M(part) {\n h = relu\n return relu\n}", "THX211", "h"),
        ("module M(part, part) = relu", "THX206", "part"),
        ("module M(part) {\n part = relu\n return part\n}", "THX206", "part"),
        ("module M(it) = relu", "THX206", "it"),
        ("module M(part, a = b) = relu", "THX201", "b"),
        ("module M(part, a = part.out.channels, b = a) = Linear(c)", "THX201", "c"),
        ("module M(part) {\n h = Linear(g)\n g = relu\n return h + g\n}", "THX201", "g"),
        ("module GRU(part) = GRU(3)[0]", "THX206", "GRU"),
        ("module M(part) = relu |> it + M(part)", "THX206", "M"),
    ],
)
def test_a_definition_uses_what_it_has(definition: str, code: str, blamed: str) -> None:
    diagnostic = refused("relu", definition)
    assert diagnostic.primary is not None
    assert (diagnostic.code, diagnostic.primary.span.text) == (code, blamed)


def test_an_argument_without_a_default_has_to_be_given() -> None:
    definitions = "module M(part, a, b = a) = Linear(b) |> Linear(6)"
    diagnostic = refused("M(c)", definitions)
    assert (diagnostic.code, diagnostic.message) == ("THX205", "`M` needs `a`")
    assert diagnostic.help == ("it is `M(part, a, b = a)`",)
    assert made("M(c, a = 3)", definitions=definitions).steps[0].arguments["out_features"] == 3
