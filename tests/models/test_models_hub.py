"""Names on the Hugging Face hub: what they mean offline, where that is from, and what is said otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.source import Source
from theseus_fx.lang.spec import Invocation, Value
from theseus_fx.models.known_configs import KnownConfig, known_configs
from theseus_fx.models.resolve import build, describe, notes, rebuild

META, CPU = torch.device("meta"), torch.device("cpu")
GPT2 = "transformers.GPT2LMHeadModel"
CONFIGS: dict[str, KnownConfig] = {known.name: known for known in known_configs().values()}


def call(name: str, *positional: Value, **keywords: Value) -> Invocation:
    source = Source("spec.thx", f"guide net = {name}(HUB)")
    start = source.text.index("HUB")
    spans = {"0": source.span(start, start + 3)}
    span = source.span(12, len(source.text))
    return Invocation(name=name, positional=positional, keywords=keywords, span=span, spans=spans)


def rejection(invocation: Invocation, *, weights: bool = False) -> Diagnostic:
    with pytest.raises(Rejected) as caught:
        build(invocation, device=CPU if weights else META, weights=weights)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.primary is not None
    return diagnostic


def built(invocation: Invocation) -> Any:
    return build(invocation, device=META, weights=False)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    import huggingface_hub.constants
    import huggingface_hub.file_download

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.file_download.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def put(cache: Path, name: str, text: str) -> None:
    """A file as the hub's client leaves it."""
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "snapshots" / "abc" / "config.json").write_text(text)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_published_size_has_the_published_number_of_parameters(name: str, cache: Path) -> None:
    known = CONFIGS[name]
    model = built(call(f"transformers.{known.counted_as}", name))
    assert sum(parameter.numel() for parameter in model.parameters()) == known.parameters
    assert all(tensor.is_meta for tensor in model.parameters())


@pytest.mark.parametrize("name", [known.name for known in CONFIGS.values()])
def test_every_field_of_the_table_is_one_of_its_configuration_class(name: str) -> None:
    import transformers

    known = CONFIGS[name]
    config_class = getattr(transformers, known.counted_as).config_class
    assert config_class.model_type == known.model_type
    defaults = config_class().to_dict() | {"num_labels": None}
    assert set(known.fields) <= set(defaults)
    assert all(defaults[field] != value for field, value in known.fields.items())


def test_old_and_new_names_are_one_model(cache: Path) -> None:
    old, new = call(GPT2, "gpt2-large"), call(GPT2, "openai-community/gpt2-large")
    assert built(old).config.to_dict() == built(new).config.to_dict()
    assert notes(old) == (
        "configuration of `gpt2-large` from the built-in table of published sizes; the hub was not asked",
    )


def test_fields_win_over_the_name_by_any_of_their_names(cache: Path) -> None:
    for layers in ("n_layer", "num_hidden_layers"):
        model = built(call(GPT2, "gpt2-medium", vocab_size=11, **{layers: 2}))
        assert len(model.transformer.h) == 2
        assert model.lm_head.weight.shape == (11, 1024)


def test_the_attention_can_be_chosen(cache: Path) -> None:
    model = built(call(GPT2, "gpt2", n_layer=1, attn_implementation="eager"))
    assert model.config._attn_implementation == "eager"
    assert rejection(call(GPT2, "gpt2", attn_implementation="egaer")).code == "THX301"


def test_nothing_is_cached_between_calls_unless_asked(cache: Path) -> None:
    assert built(call(GPT2, "gpt2")).config.use_cache is False
    assert built(call(GPT2, n_layer=1)).config.use_cache is False
    assert built(call(GPT2, "gpt2", use_cache=True)).config.use_cache is True


def test_the_hubs_cache_comes_before_the_table(cache: Path) -> None:
    put(cache, "openai-community/gpt2", json.dumps({"model_type": "gpt2", "n_layer": 3}))
    invocation = call(GPT2, "openai-community/gpt2")
    assert len(built(invocation).transformer.h) == 3
    assert notes(invocation)[0].startswith(
        "configuration of `openai-community/gpt2` from the hub's cache on this machine;"
    )


def test_a_folder_is_a_name_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_layer": 2}))
    invocation = call(GPT2, str(tmp_path))
    assert len(built(invocation).transformer.h) == 2
    assert "from its folder" in notes(invocation)[0]


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_file_is_named_and_nothing_takes_its_place(cache: Path, text: str) -> None:
    put(cache, "openai-community/gpt2", text)
    diagnostic = rejection(call(GPT2, "openai-community/gpt2"))
    assert diagnostic.code == "THX707"
    assert "config" in diagnostic.message
    assert "cannot be read" in diagnostic.message


def test_an_unknown_name_says_what_can_be_written(cache: Path) -> None:
    diagnostic = rejection(call(GPT2, "openai-community/gpt3"))
    assert diagnostic.code == "THX707"
    assert "neither in the hub's cache" in diagnostic.message
    assert diagnostic.help[0].startswith("the table has `openai-community/gpt2`")
    assert "GPT2LMHeadModel(vocab_size = 50257, n_positions = 1024" in diagnostic.help[1]
    assert diagnostic.help[2] == "or fetch it once: `hf download openai-community/gpt3 config.json`"


def test_a_name_that_no_hub_could_have(cache: Path) -> None:
    assert rejection(call(GPT2, "not a name!")).code == "THX707"


def test_a_model_of_another_family(cache: Path) -> None:
    diagnostic = rejection(call(GPT2, "bert-base-uncased"))
    assert diagnostic.code == "THX301"
    assert "is a model of the family `bert`" in diagnostic.message
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.text == "HUB"


def test_a_description_with_a_hub_name_is_rebuilt_offline(cache: Path) -> None:
    invocation = call(GPT2, "gpt2", n_layer=1, n_embd=8, n_head=2, vocab_size=11)
    again = rebuild(json.loads(json.dumps(describe(invocation))), device=META)
    assert repr(again) == repr(built(invocation))


def test_only_transformers_have_notes() -> None:
    assert notes(call("torchvision.resnet18")) == ()
    assert notes(call(GPT2)) == ()


def test_weights_are_read_from_the_hub_as_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    asked: dict[str, Any] = {}

    def reading(name: str, **fields: Any) -> torch.nn.Module:
        asked.update(fields, name=name)
        return torch.nn.Identity()

    monkeypatch.setattr(transformers.GPT2LMHeadModel, "from_pretrained", reading)
    build(call(GPT2, "gpt2", n_layer=2), device=CPU, weights=True)
    assert asked == {"name": "gpt2", "n_layer": 2, "use_cache": False, "dtype": "float32"}


def test_weights_that_the_hub_does_not_give(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("We couldn't connect\nand more")

    monkeypatch.setattr(transformers.GPT2LMHeadModel, "from_pretrained", offline)
    diagnostic = rejection(call(GPT2, "openai-community/gpt2"), weights=True)
    assert diagnostic.code == "THX707"
    assert diagnostic.message.endswith("We couldn't connect")
