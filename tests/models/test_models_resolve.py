"""From a name in a spec to a network: what is built, at what cost, and what is said when it cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.source import Source
from theseus_fx.lang.spec import Amount, Environment, Invocation, Value
from theseus_fx.models.resolve import build, describe, rebuild
from theseus_fx.models.weightless import weightless

ROOT = Path(__file__).resolve().parents[2]
META, CPU = torch.device("meta"), torch.device("cpu")


def call(name: str, *positional: Value, **keywords: Value) -> Invocation:
    text = f"guide net = {name}(...)"
    source = Source("spec.thx", f"{text}  # {' '.join(keywords)}")
    spans = {
        key: source.span(start, start + len(key)) for key in keywords if (start := source.text.index(key))
    }
    return Invocation(
        name=name, positional=positional, keywords=keywords, span=source.span(12, len(text)), spans=spans
    )


def rejection(invocation: Invocation, *, device: torch.device = META, weights: bool = False) -> Diagnostic:
    with pytest.raises(Rejected) as caught:
        build(invocation, device=device, weights=weights)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.primary is not None
    return diagnostic


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


# --- what is built ---


def test_the_zoo() -> None:
    model = build(call("small_resnet", width=4, classes=3, channels=1), device=CPU, weights=False)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    assert not model.training


@pytest.mark.parametrize(
    "invocation",
    [
        call("torchvision.resnet18", weights="IMAGENET1K_V1"),
        call("torchvision.regnet_y_400mf"),  # computes its widths with tensors
        call("small_resnet"),
        call("transformers.GPT2LMHeadModel", n_layer=2),
    ],
)
def test_on_meta_nothing_is_drawn_and_nothing_is_real(invocation: Invocation) -> None:
    before = torch.get_rng_state()
    model = build(invocation, device=META, weights=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
    assert not nn.Linear(2, 2).weight.is_meta


def test_shared_parameters_stay_shared_on_meta() -> None:
    model: Any = build(call("transformers.GPT2LMHeadModel", n_layer=1), device=META, weights=False)
    assert model.lm_head.weight is model.transformer.wte.weight


def test_without_weights_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", forbidden)
    monkeypatch.setattr(torch, "load", forbidden)
    for device in (META, CPU):
        build(call("torchvision.resnet18", weights="DEFAULT"), device=device, weights=False)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("resnet18", "IMAGENET1K_V1"),
        ("googlenet", "IMAGENET1K_V1"),
        ("inception_v3", "IMAGENET1K_V1"),
        ("vit_b_16", "IMAGENET1K_SWAG_E2E_V1"),
        ("maxvit_t", "IMAGENET1K_V1"),
        ("vgg16", "IMAGENET1K_FEATURES"),
    ],
)
def test_without_weights_it_is_the_network_that_they_would_fill(
    name: str, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = build(call(f"torchvision.{name}", weights=weights), device=META, weights=False)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *a, **k: {})
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda self, *a, **k: None)
    with weightless():
        filled = torchvision.models.get_model(name, weights=weights)
    assert shapes(planned) == shapes(filled)
    for switch in ("transform_input", "aux_logits", "image_size"):
        assert getattr(planned, switch, None) == getattr(filled, switch, None)


def test_weights_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    state = torchvision.models.resnet18().state_dict()
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *a, **k: state)
    model = build(call("torchvision.resnet18", weights="IMAGENET1K_V1"), device=CPU, weights=True)
    assert not model.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_no_weights_means_random_ones_by_the_global_seed() -> None:
    invocation = call("torchvision.squeezenet1_1", weights=None, num_classes=5)
    states = []
    for weights in (True, False):
        torch.manual_seed(3)
        states.append(build(invocation, device=CPU, weights=weights).state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_the_meta_device_holds_no_weights() -> None:
    with pytest.raises(ValueError, match="holds no weights"):
        build(call("small_resnet"), device=META, weights=True)


def test_parameters_of_other_threads_stay_real() -> None:
    import threading

    made: list[nn.Linear] = []
    with weightless():
        thread = threading.Thread(target=lambda: made.append(nn.Linear(2, 2)))
        thread.start()
        thread.join()
    assert not made[0].weight.is_meta


# --- descriptions ---


@pytest.mark.parametrize(
    "invocation",
    [
        call("small_resnet", width=4, classes=3, channels=1),
        call("torchvision.resnet18", weights="IMAGENET1K_V1"),
        call("torchvision.resnet50", replace_stride_with_dilation=(False, True, True)),
        call("transformers.GPT2LMHeadModel", n_layer=1, n_embd=8, n_head=2, vocab_size=11),
    ],
)
def test_a_description_rebuilds_the_architecture(invocation: Invocation) -> None:
    text = json.dumps(describe(invocation))
    again = rebuild(json.loads(text), device=META)
    made = build(invocation, device=META, weights=False)
    assert type(again) is type(made)
    assert repr(again) == repr(made)
    assert shapes(again) == shapes(made)


def test_a_rebuilt_network_takes_the_saved_weights() -> None:
    invocation = call("small_resnet", width=4, classes=3, channels=1)
    made = build(invocation, device=CPU, weights=True)
    again = rebuild(describe(invocation))
    again.load_state_dict(made.state_dict())
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(made(x), again(x))


def test_a_description_of_nothing_is_blamed_on_its_own_text() -> None:
    with pytest.raises(Rejected) as caught:
        rebuild({"name": "small_resnet", "positional": [], "keywords": {"depth": 3}})
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.text == "small_resnet(depth = 3)"


# --- mistakes ---


@pytest.mark.parametrize(
    ("invocation", "message", "fix"),
    [
        (
            call("smal_resnet"),
            "there is no model `smal_resnet`",
            "did you mean `small_resnet` or `small_vit`?",
        ),
        (call("resnet18"), "there is no model `resnet18`", "did you mean `torchvision.resnet18`?"),
        (call("torchvison.resnet18"), "no library `torchvison` is read", "did you mean `torchvision`?"),
        (
            call("torchvision.resnet1"),
            "torchvision has no model `resnet1`",
            "did you mean `resnet18`, `resnet152` or `resnet101`?",
        ),
        (
            call("transformers.GPT2LMHaedModel"),
            "transformers has no model class `GPT2LMHaedModel`",
            "did you mean `GPT2LMHeadModel`",
        ),
        (call("transformers.GPT2Config"), "transformers has no model class `GPT2Config`", ""),
        (
            call("torchvision.fcn_resnet50"),
            "`torchvision.fcn_resnet50` is not an image classification model",
            "",
        ),
    ],
)
def test_unknown_names(invocation: Invocation, message: str, fix: str) -> None:
    diagnostic = rejection(invocation)
    assert diagnostic.code == "THX301"
    assert diagnostic.message == message
    assert "".join(diagnostic.help).startswith(fix)
    assert diagnostic.primary is not None
    assert diagnostic.primary.span == invocation.span


@pytest.mark.parametrize(
    ("invocation", "message", "place"),
    [
        (
            call("torchvision.resnet18", weights="IMAGENET1K_V9"),
            "`torchvision.resnet18` has no weights `IMAGENET1K_V9`",
            "weights",
        ),
        (
            call("torchvision.resnet18", weights="DEFAULT", num_classes=10),
            "the weights `IMAGENET1K_V1` need `num_classes = 1000`, not 10",
            "num_classes",
        ),
        (
            call("torchvision.resnet18", pretrained=True),
            "`torchvision.resnet18` has no argument `pretrained` here",
            "pretrained",
        ),
        (
            call("transformers.GPT2LMHeadModel", n_layers=2),
            "`GPT2Config` has no field `n_layers`",
            "n_layers",
        ),
        (
            call("small_resnet", width=Amount(count=5, unit="epochs")),
            "an argument of a model is a number, a string, true, false, none or a list, not `5 epochs`",
            "width",
        ),
        (
            call("small_resnet", width=(1, Environment("X"))),
            "an argument of a model is a number",
            "width",
        ),
    ],
)
def test_wrong_arguments(invocation: Invocation, message: str, place: str) -> None:
    diagnostic = rejection(invocation)
    assert diagnostic.code == "THX301"
    assert diagnostic.message.startswith(message)
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.text == place


@pytest.mark.parametrize(
    ("invocation", "words"),
    [
        (call("torchvision.resnet18", wieghts="DEFAULT"), "unexpected keyword argument 'wieghts'"),
        (call("small_resnet", depth=2), "unexpected keyword argument 'depth'"),
        (call("small_resnet", width=-1), "negative dimension -1"),
        (call("transformers.GPT2LMHeadModel", n_layer="two"), "Field 'n_layer' expected int"),
        (call("transformers.GPT2LMHeadModel", n_embd=10, n_head=3), "must be divisible by num_heads"),
    ],
)
def test_the_constructors_own_words_are_quoted(invocation: Invocation, words: str) -> None:
    diagnostic = rejection(invocation)
    assert diagnostic.code == "THX301"
    assert diagnostic.message.startswith(f"`{invocation.name}` does not take these arguments: ")
    assert words in diagnostic.message
    assert "\n" not in diagnostic.message


def test_positional_arguments_that_no_model_takes() -> None:
    assert "keyword arguments only" in rejection(call("torchvision.resnet18", "DEFAULT")).message
    assert "one name on the hub" in rejection(call("transformers.GPT2Model", "gpt2", 3)).message


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", offline)
    invocation = call("torchvision.resnet18", weights="IMAGENET1K_V1")
    diagnostic = rejection(invocation, device=CPU, weights=True)
    assert diagnostic.code == "THX707"
    assert diagnostic.message.startswith("the weights `IMAGENET1K_V1` of `torchvision.resnet18` are neither")
    assert "resnet18-f37072fd.pth" in diagnostic.help[0]
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.text == "weights"


@pytest.mark.parametrize(("given", "kept"), [({}, False), ({"use_cache": True}, True)])
def test_a_cache_of_keys_and_values_is_kept_only_where_it_is_asked_for(
    given: dict[str, Value], kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    sizes: dict[str, Value] = {"n_layer": 1, "n_embd": 8, "n_head": 2, "vocab_size": 11, **given}
    invocation = call("transformers.GPT2LMHeadModel", **sizes)
    model: Any = build(invocation, device=CPU, weights=False)
    assert (model.config.use_cache, model.generation_config.use_cache in (None, True)) == (kept, kept)

    def from_hub(_: str, **fields: Any) -> Any:
        made: Any = transformers.GPT2LMHeadModel(transformers.GPT2Config(**fields))
        made.generation_config.use_cache = True  # as a file on the hub may say
        return made

    monkeypatch.setattr(transformers.GPT2LMHeadModel, "from_pretrained", from_hub)
    stored: Any = build(call("transformers.GPT2LMHeadModel", "gpt2", **sizes), device=CPU, weights=True)
    assert (stored.config.use_cache, stored.generation_config.use_cache) == (kept, kept)
    other: Any = build(call("transformers.ResNetModel", depths=(1, 1, 1, 1)), device=META, weights=False)
    assert not hasattr(other.config, "use_cache")


def test_transformers_is_imported_only_for_its_own_models() -> None:
    script = (
        "import sys, torch\nfrom theseus_fx.lang.source import Source\n"
        "from theseus_fx.lang.spec import Invocation\nfrom theseus_fx.models.resolve import build\n"
        "span = Source('s', 'x').span(0, 1)\n"
        "build(Invocation(name='torchvision.resnet18', keywords={}, span=span, spans={}),"
        " device=torch.device('meta'), weights=False)\n"
        "print('transformers' in sys.modules)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout == "False\n"
