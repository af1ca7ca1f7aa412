"""Replacements with every size computed, on the value that flows into a part."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from theseus_fx.graph.values import ValueInfo
from theseus_fx.lang import loader, syntax
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.spec import Spec
from theseus_fx.modules.build import Boundary, build
from theseus_fx.modules.endings import LinearEnding, ending_of
from theseus_fx.modules.recipe import Recipe

IMAGE = (3, 8, 8)
TEXT = (7, 6)


def read(replacement: str, definitions: str = "") -> tuple[Spec, syntax.Expression]:
    text = (
        f"theseus 1\nparam width = 5\n{definitions}\nrule r {{ match Conv2d as c where width > 0\n"
        f"replace with {replacement} }}\nschedule progressive {{ lr = 1e-3  for = 1 steps }}\n"
    )
    spec = loader.loads(text, guide_required=False)
    return spec, spec.rules[0].replacement


def value(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> ValueInfo:
    return ValueInfo(shape=("batch", *shape), dtype=dtype)


def names_of(spec: Spec, x: ValueInfo, y: ValueInfo) -> Mapping[str, object]:
    def facts(v: ValueInfo) -> dict[str, object]:
        return {"shape": v.shape, "rank": len(v.shape), "features": v.features, "channels": v.shape[1]}

    part = {"in": facts(x), "out": facts(y), "kernel_size": (3, 3), "bias": True}
    return {**spec.params, "c": part}


def made(
    replacement: str,
    shape: tuple[int, ...] = IMAGE,
    out: tuple[int, ...] = IMAGE,
    *,
    definitions: str = "",
    dtypes: tuple[torch.dtype, torch.dtype] = (torch.float32, torch.float32),
) -> Recipe:
    spec, expression = read(replacement, definitions)
    x, y = value(shape, dtypes[0]), value(out, dtypes[1])
    boundary = Boundary(part="r[1] conv", input=x, output=y, span=spec.rules[0].pattern.span)
    return build(expression, boundary, names=names_of(spec, x, y), definitions=spec.modules)


def refused(
    replacement: str, shape: tuple[int, ...] = IMAGE, out: tuple[int, ...] = IMAGE, *, definitions: str = ""
) -> Diagnostic:
    with pytest.raises(Rejected) as caught:
        made(replacement, shape, out, definitions=definitions)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.render()
    return diagnostic


def blamed(diagnostic: Diagnostic) -> str:
    assert diagnostic.primary is not None
    return diagnostic.primary.span.text


@pytest.mark.parametrize(
    ("replacement", "shape", "out", "arguments"),
    [
        ("Linear(5)", TEXT, (7, 5), {"in_features": 6, "out_features": 5}),
        ("Linear(out_features = 5, bias = false)", TEXT, (7, 5), {"in_features": 6, "bias": False}),
        ("Linear(in_features = 6, out_features = 5)", TEXT, (7, 5), {"in_features": 6}),
        ("Conv2d(4, 1)", IMAGE, (4, 8, 8), {"in_channels": 3, "out_channels": 4, "kernel_size": 1}),
        ("Conv2d(4, 3, padding = 1, stride = 2)", IMAGE, (4, 4, 4), {"in_channels": 3, "stride": 2}),
        ("Conv2d(4, [1, 3], padding = [0, 1])", IMAGE, (4, 8, 8), {"kernel_size": (1, 3)}),
        ('Conv2d(3, 3, padding = "same")', IMAGE, IMAGE, {"padding": "same"}),
        ("Conv1d(4, 1)", TEXT, (4, 6), {"in_channels": 7}),
        ("BatchNorm2d", IMAGE, IMAGE, {"num_features": 3}),
        ("BatchNorm2d(eps = 1e-3)", IMAGE, IMAGE, {"num_features": 3, "eps": 1e-3}),
        ("GroupNorm(3)", IMAGE, IMAGE, {"num_groups": 3, "num_channels": 3}),
        ("LayerNorm", TEXT, TEXT, {"normalized_shape": 6}),
        ("LayerNorm(normalized_shape = [7, 6])", TEXT, TEXT, {"normalized_shape": (7, 6)}),
        ("TransformerEncoderLayer(nhead = 2, batch_first = true)", TEXT, TEXT, {"d_model": 6}),
        ("flatten", IMAGE, (192,), {}),
        ("flatten(start_dim = 2)", IMAGE, (3, 64), {"start_dim": 2}),
        ("transpose(1, 2)", TEXT, (6, 7), {"dim0": 1, "dim1": 2}),
        ("permute([0, 2, 3, 1])", IMAGE, (8, 8, 3), {"dims": (0, 2, 3, 1)}),
        ("softmax(dim = 1)", TEXT, TEXT, {"dim": 1}),
        ("reshape(c.out.shape)", IMAGE, (12, 16), {"shape": ("batch", 12, 16)}),
    ],
)
def test_sizes_follow_from_the_value_that_flows_in(
    replacement: str, shape: tuple[int, ...], out: tuple[int, ...], arguments: dict[str, object]
) -> None:
    recipe = made(replacement, shape, out)
    (step,) = recipe.steps
    assert arguments.items() <= step.arguments.items()
    assert recipe.make(seed=0).eval()(torch.randn(2, *shape)).shape == (2, *out)


def test_a_chain_passes_sizes_on() -> None:
    recipe = made(
        "Conv2d(2 * width, 3, padding = 1) |> BatchNorm2d |> relu |> Conv2d(c.out.channels, 1)",
        IMAGE,
        (6, 8, 8),
    )
    assert [step.arguments.get("in_channels") for step in recipe.steps] == [3, None, None, 10]
    assert recipe.name == "Conv2d |> BatchNorm2d |> relu |> Conv2d"
    module = recipe.make(seed=0)
    assert list(dict(module.named_children())) == ["conv2d_1", "batchnorm2d", "relu", "conv2d_2"]
    assert module(torch.randn(2, *IMAGE)).shape == (2, 6, 8, 8)


def test_arguments_compute_with_the_values_of_the_part() -> None:
    recipe = made("flatten |> Linear(4 * c.out.channels + width // 2) |> Linear(c.out.features) |> R(c)",
                  IMAGE, (2, 4), definitions="module R(part) = reshape(part.out.shape)")  # fmt: skip
    assert recipe.steps[1].arguments["out_features"] == 4 * 2 + 2
    assert recipe.steps[3].arguments["shape"] == ("batch", 2, 4)


def test_named_modules_are_expanded_however_deep() -> None:
    definitions = """
module Shape(part) = reshape(part.out.shape)
module Wide(part, factor) = Linear(factor * part.out.features) |> gelu
module Mlp(part, factor) = flatten |> Wide(part, factor = factor) |> Linear(part.out.features) |> Shape(part)
"""
    recipe = made("Mlp(c, 2)", IMAGE, IMAGE, definitions=definitions)
    assert recipe.name == "Mlp"
    assert [step.kind for step in recipe.steps] == ["flatten", "Linear", "gelu", "Linear", "reshape"]
    assert recipe.steps[1].arguments["out_features"] == 2 * 192


def test_a_named_module_without_parameters_is_a_word() -> None:
    recipe = made("Act |> Act()", definitions="module Act() = relu")
    assert [step.kind for step in recipe.steps] == ["relu", "relu"]


def test_the_shipped_low_rank_module_has_the_form_for_a_fit() -> None:
    recipe = made("LowRankLinear(c, rank = width)", definitions='use "std/low_rank.thx"')
    ending = ending_of(recipe)
    assert isinstance(ending, LinearEnding)
    assert (ending.d_in, ending.rank, ending.d_out) == (192, 5, 192)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_replacement_has_the_dtype_of_the_part(dtype: torch.dtype) -> None:
    recipe = made("Linear(5) |> LayerNorm", TEXT, (7, 5), dtypes=(dtype, dtype))
    module = Recipe.from_json(recipe.as_json()).make(seed=0)
    assert {p.dtype for p in module.parameters()} == {dtype}
    assert module(torch.randn(2, *TEXT).to(dtype)).dtype == dtype


def test_a_part_may_take_whole_numbers() -> None:
    recipe = made("Embedding(10, 4)", (7,), (7, 4), dtypes=(torch.int64, torch.float32))
    assert recipe.make()(torch.zeros(2, 7, dtype=torch.int64)).shape == (2, 7, 4)


def test_a_dtype_that_does_not_fit_is_a_misfit() -> None:
    with pytest.raises(Rejected) as caught:
        made("identity", dtypes=(torch.float64, torch.float32))
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "THX501"
    assert "float64" in diagnostic.message
    assert "float32" in diagnostic.message


def test_a_symbolic_size_other_than_the_batch_is_kept() -> None:
    spec, expression = read("Linear(5)")
    x = ValueInfo(shape=("2*batch", 6), dtype=torch.float32)
    y = ValueInfo(shape=("2*batch", 5), dtype=torch.float32)
    boundary = Boundary(part="r[1] conv", input=x, output=y, span=spec.rules[0].pattern.span)
    recipe = build(expression, boundary, names={}, definitions={})
    assert recipe.steps[0].arguments["out_features"] == 5


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replacement", "word", "near"),
    [
        ("flatten |> Linaer(5)", "Linaer(5)", "Linear"),
        ("flaten |> Linear(5)", "flaten", "flatten"),
        ("Mpl(c)", "Mpl(c)", "Mlp"),
        ("Module", "Module", "Mlp"),
    ],
)
def test_an_unknown_module_or_function_gets_near_names(replacement: str, word: str, near: str) -> None:
    diagnostic = refused(replacement, definitions="module Mlp(part) = identity")
    assert diagnostic.code == "THX303"
    assert blamed(diagnostic) == word
    if near != "Mlp" or word != "Module":
        assert near in diagnostic.help[0]


@pytest.mark.parametrize(
    ("replacement", "blames", "helped"),
    [
        ("Linear(out_featurs = 5)", "out_featurs", "did you mean `out_features`?"),
        ("Linear(5, bais = false)", "bais", "did you mean `bias`?"),
        ("Linear", "Linear", "it takes: `out_features`, `bias`"),
        ("Linear(5, false, 3)", "Linear(5, false, 3)", "it takes: `out_features`, `bias`"),
        ("Linear(6, 5)", "Linear(6, 5)", "inferred from the value that flows in: `in_features`"),
        ("Linear(5, device = 3)", "device", "it takes: `out_features`, `bias`"),
        ("relu(1)", "relu(1)", "it takes: `inplace`"),
        ("tanh(1)", "tanh(1)", "it takes nothing"),
        ("permute", "permute", "it takes: `dims`"),
    ],
)
def test_wrong_arguments_are_told_with_what_it_takes(replacement: str, blames: str, helped: str) -> None:
    diagnostic = refused(replacement, TEXT, TEXT)
    assert diagnostic.code == "THX205"
    assert blamed(diagnostic) == blames
    assert helped in "\n".join(diagnostic.help)


def test_a_whole_part_is_no_argument_of_a_layer() -> None:
    diagnostic = refused("Linear(c)")
    assert (diagnostic.code, blamed(diagnostic)) == ("THX203", "Linear(c)")
    assert "a whole part" in diagnostic.message


@pytest.mark.parametrize(
    ("replacement", "word", "message"),
    [
        ("flatten |> Conv2d(4, 3)", "Conv2d(4, 3)", "does not accept a value of shape (b, 192)"),
        ("Conv2d(4, 9)", "Conv2d(4, 9)", "does not accept a value of shape (b, 3, 8, 8)"),
        ("Linear(in_features = 9, out_features = 5)", "Linear(in", "(b, 3, 8, 8)"),
        ("Linear(-1)", "Linear(-1)", "cannot be made"),
        ("Linear(0)", "Linear(0)", "has a parameter without elements"),
        ("Linear(2.5)", "Linear(2.5)", "cannot be made"),
        ("Conv2d(4, 1, groups = 0)", "Conv2d(4, 1, groups = 0)", "cannot be made"),
        ("reshape([3, 64])", "reshape([3, 64])", "cannot be made"),
        ("flatten(start_dim = 2) |> GRU(4, batch_first = true)", "GRU(4", "is a tuple of 2"),
        ("MaxPool2d(2, return_indices = true)", "MaxPool2d", "is a tuple of 2"),
        ("flatten(start_dim = 2) |> MultiheadAttention(num_heads = 1)", "Multi", "does not accept a value"),
    ],
)
def test_a_step_that_does_not_work_is_named_with_its_place(replacement: str, word: str, message: str) -> None:
    diagnostic = refused(replacement)
    assert diagnostic.code == "THX502"
    assert blamed(diagnostic).startswith(word)
    assert message in diagnostic.message
    (matched,) = diagnostic.secondary
    assert "Conv2d as c" in matched.span.text
    assert matched.text == "in the replacement of `r[1] conv`: (b, 3, 8, 8) to (b, 3, 8, 8)"


def test_a_step_inside_a_named_module_is_blamed_there() -> None:
    diagnostic = refused("Bad(c)", definitions="module Bad(part) = flatten |> Conv2d(part.out.channels, 1)")
    assert blamed(diagnostic) == "Conv2d(part.out.channels, 1)"


def test_an_attribute_that_the_part_lacks_is_told_where_it_stands() -> None:
    diagnostic = refused("Bad(c)", definitions="module Bad(part) = flatten |> Linear(part.out.featurs)")
    assert (diagnostic.code, blamed(diagnostic)) == ("THX201", "featurs")
    assert diagnostic.help == ("did you mean `features`?",)


def test_an_output_of_another_size_shows_both_shapes_and_places() -> None:
    diagnostic = refused("Conv2d(4, 1)", IMAGE, (5, 8, 8))
    assert diagnostic.code == "THX501"
    assert diagnostic.message == "the replacement returns (b, 4, 8, 8), but `r[1] conv` returns (b, 5, 8, 8)"
    assert blamed(diagnostic) == "Conv2d(4, 1)"
    assert "Conv2d as c" in diagnostic.secondary[0].span.text
    assert diagnostic.help == ("the output needs 320 features a sample, it has 256",)


def test_an_output_that_only_lacks_its_shape_gets_the_edit() -> None:
    diagnostic = refused("flatten |> Linear(c.out.features)")
    assert diagnostic.code == "THX501"
    assert diagnostic.help == ("end the chain with `reshape(c.out.shape)`",)
    assert made("flatten |> Linear(c.out.features) |> reshape(c.out.shape)").steps


@pytest.mark.parametrize(
    "replacement",
    [
        "flatten(start_dim = 0)",
        "transpose(0, 1)",
        "softmax(dim = 0)",
        "transpose(1, -3)",
        "mean(dim = [0, 1])",
    ],
)
def test_a_step_that_would_mix_samples_is_refused(replacement: str) -> None:
    diagnostic = refused(replacement, TEXT, TEXT)
    assert (diagnostic.code, "would mix samples" in diagnostic.message) == ("THX502", True)


@pytest.mark.parametrize(
    "replacement", ["softmax", "log_softmax()", "Softmax", "nn.Softmin", "relu |> softmax"]
)
def test_a_step_does_not_choose_the_batch_by_itself(replacement: str) -> None:
    diagnostic = refused(replacement, TEXT, TEXT)
    assert (diagnostic.code, "needs its `dim`" in diagnostic.message) == ("THX502", True)


def test_the_batch_stays_the_first_dimension() -> None:
    assert refused("permute([1, 0, 2])", TEXT, TEXT).code == "THX501"


def test_a_size_equal_to_any_batch_is_not_taken_for_it() -> None:
    diagnostic = refused("permute([1, 0, 2])", (3, 3), (3, 3))
    assert diagnostic.message == "the replacement returns (3, b, 3), but `r[1] conv` returns (b, 3, 3)"
