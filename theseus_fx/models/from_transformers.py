"""Models of Hugging Face transformers, by the name of their class."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, cast

from safetensors import SafetensorError
from torch import nn

from theseus_fx.lang.diagnostics import did_you_mean
from theseus_fx.lang.spec import Invocation
from theseus_fx.models.rejection import CONSTRUCTOR_ERRORS, no_weights, refused, unknown_model
from theseus_fx.models.weightless import weightless


def build(invocation: Invocation, name: str, *, meta: bool, weights: bool) -> nn.Module:
    """The model `transformers.NAME(...)` on the CPU; with `meta` its parameters are on the meta device.

    Keywords are fields of the class's configuration; without a hub name the other fields have that
    class's defaults and the weights are random. With a hub name (the one positional argument) both come
    from the hub or its cache, so nothing can be built without reading them. A cache of keys and values
    between calls is off where the keywords do not ask for it: a replaced layer would not fill it.

    Raises `Rejected`: THX301 for a class or a field that does not exist or does not take the value,
    THX707 where the hub is needed and cannot be reached or must not be.
    """
    # An import of a second that specs without such a model need not pay for.
    import transformers
    from huggingface_hub.errors import StrictDataclassError

    kind: Any = getattr(transformers, name, None)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel) and kind.config_class):
        models = [known for known in dir(transformers) if known[:1].isupper() and _is_model_name(known)]
        raise unknown_model(
            invocation, f"transformers has no model class `{name}`", helps=did_you_mean(name, models)
        )
    hub_name = _hub_name(invocation)
    config_class: Any = kind.config_class
    _check_fields(invocation, config_class)
    fields = _fields(invocation, config_class)
    if hub_name is not None:
        return _without_cache(_from_hub(invocation, kind, hub_name, fields, weights=weights), fields)
    try:
        with weightless() if meta else nullcontext():
            return _without_cache(kind(config_class(**fields)), fields)
    except (*CONSTRUCTOR_ERRORS, StrictDataclassError) as error:
        raise refused(invocation, error) from error


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


def _check_fields(invocation: Invocation, config_class: Any) -> None:
    """A configuration accepts any keyword and ignores those it does not know: a typo must not pass."""
    defaults = config_class()
    for key in invocation.keywords:
        if not hasattr(defaults, key):
            raise unknown_model(
                invocation,
                f"`{config_class.__name__}` has no field `{key}`",
                argument=key,
                helps=did_you_mean(key, [known for known in defaults.to_dict() if known[:1] != "_"]),
            )


def _fields(invocation: Invocation, config_class: Any) -> dict[str, Any]:
    """The keywords, and `use_cache = false` where the configuration has such a field."""
    default = {"use_cache": False} if hasattr(config_class(), "use_cache") else {}
    return {**default, **invocation.keywords}


def _without_cache(model: Any, fields: Mapping[str, Any]) -> nn.Module:
    """The model, whose `generate` would otherwise turn the cache on again."""
    generation = getattr(model, "generation_config", None)
    if generation is not None and not fields.get("use_cache", True):
        generation.use_cache = False
    return cast("nn.Module", model)


def _from_hub(
    invocation: Invocation, kind: Any, hub_name: str, fields: Mapping[str, Any], *, weights: bool
) -> nn.Module:
    from huggingface_hub.errors import StrictDataclassError

    if not weights:
        raise no_weights(
            invocation,
            f"the configuration of `{hub_name}` is on the hub, and this step reads nothing from there",
            helps=(
                f"write its fields instead of its name, such as `{invocation.name}(num_hidden_layers = 12)`",
            ),
        )
    try:
        return cast("nn.Module", kind.from_pretrained(hub_name, **fields))
    except (OSError, SafetensorError) as error:  # unreachable, missing or damaged
        first = str(error).strip().partition("\n")[0]
        raise no_weights(
            invocation, f"`{hub_name}` is neither cached nor can be had from the hub: {first}"
        ) from error
    except (*CONSTRUCTOR_ERRORS, StrictDataclassError) as error:
        raise refused(invocation, error) from error
