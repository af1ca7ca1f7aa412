"""Models of Hugging Face transformers, by the name of their class."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, cast

from safetensors import SafetensorError
from torch import nn

from theseus_fx.lang.diagnostics import did_you_mean
from theseus_fx.lang.spec import Invocation
from theseus_fx.models.configurations import find_configuration
from theseus_fx.models.rejection import CONSTRUCTOR_ERRORS, no_weights, refused, unknown_model
from theseus_fx.models.weightless import weightless

_LOADING = ("attn_implementation",)
"""Keywords that a configuration takes without having a field of the name."""


def build(invocation: Invocation, name: str, *, meta: bool, weights: bool) -> nn.Module:
    """The model `transformers.NAME(...)` on the CPU; with `meta` its parameters are on the meta device.

    Keywords are fields of the class's configuration; without a hub name the other fields have that
    class's defaults and the weights are random. With a hub name (the one positional argument) both come
    from the hub or its cache. Without `weights` the hub is never asked: the configuration is that of its
    cache, else of the built-in table of published sizes; `origin` says which.

    Weights are float32 whatever the checkpoint stores, and no model keeps a cache of keys and values
    between calls unless `use_cache = true` is written.

    Raises `Rejected`: THX301 for a class or a field that does not exist or does not take the value,
    THX707 where a configuration or weights are needed and cannot be had.
    """
    # An import of a second that specs without such a model need not pay for.
    from huggingface_hub.errors import StrictDataclassError

    kind = _model_class(invocation, name)
    hub_name = _hub_name(invocation)
    config_class = kind.config_class
    fields = _fields(invocation, config_class)
    if hub_name is not None and weights:
        return _from_hub(invocation, kind, hub_name, fields)
    try:
        if hub_name is None:
            config = config_class(**fields)
        else:
            found = find_configuration(invocation, config_class, hub_name)
            config = config_class.from_dict(dict(found.fields), **fields)
        with weightless() if meta else nullcontext():
            return _without_cache(kind(config), fields)
    except (*CONSTRUCTOR_ERRORS, StrictDataclassError) as error:
        raise refused(invocation, error) from error


def origin(invocation: Invocation, name: str) -> str | None:
    """Where `build` without weights has the configuration from, in a sentence; None without a hub name.

    Raises `Rejected` like `build`.
    """
    hub_name = _hub_name(invocation)
    if hub_name is None:
        return None
    return find_configuration(invocation, _model_class(invocation, name).config_class, hub_name).origin


def _model_class(invocation: Invocation, name: str) -> Any:
    import transformers

    kind: Any = getattr(transformers, name, None)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel) and kind.config_class):
        models = [known for known in dir(transformers) if known[:1].isupper() and _is_model_name(known)]
        raise unknown_model(
            invocation, f"transformers has no model class `{name}`", helps=did_you_mean(name, models)
        )
    return kind


def _is_model_name(name: str) -> bool:
    return (name.endswith("Model") or "For" in name or "LMHead" in name) and not name.startswith("Auto")


def _hub_name(invocation: Invocation) -> str | None:
    if not invocation.positional:
        return None
    first, *more = invocation.positional
    if more or not isinstance(first, str):
        place = "1" if more else "0"
        message = f"`{invocation.name}` takes one name on the hub and fields of its configuration"
        raise unknown_model(invocation, message, argument=place)
    return first


def _fields(invocation: Invocation, config_class: Any) -> dict[str, Any]:
    """The keywords, checked: a configuration accepts any and ignores those it does not know."""
    defaults = config_class()
    for key in invocation.keywords:
        if not hasattr(defaults, key) and key not in _LOADING:
            raise unknown_model(
                invocation,
                f"`{config_class.__name__}` has no field `{key}`",
                argument=key,
                helps=did_you_mean(key, [known for known in defaults.to_dict() if known[:1] != "_"]),
            )
    implied = {"use_cache": False} if hasattr(defaults, "use_cache") else {}
    return {**implied, **invocation.keywords}


def _without_cache(model: Any, fields: Mapping[str, Any]) -> nn.Module:
    """The model, whose `generate` would otherwise turn the cache on again."""
    generation = getattr(model, "generation_config", None)
    if generation is not None and not fields.get("use_cache", True):
        generation.use_cache = False
    return cast("nn.Module", model)


def _from_hub(invocation: Invocation, kind: Any, hub_name: str, fields: Mapping[str, Any]) -> nn.Module:
    from huggingface_hub.errors import StrictDataclassError

    try:
        made = kind.from_pretrained(hub_name, **{"dtype": "float32", **fields})
        return _without_cache(made, fields)
    except (OSError, SafetensorError) as error:  # unreachable, missing or damaged
        first = str(error).strip().partition("\n")[0]
        raise no_weights(
            invocation, f"`{hub_name}` is neither cached nor can be had from the hub: {first}"
        ) from error
    except (*CONSTRUCTOR_ERRORS, StrictDataclassError) as error:
        raise refused(invocation, error) from error
