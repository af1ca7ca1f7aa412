"""What a name on the Hugging Face hub stands for, found without asking the hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.spec import Invocation
from theseus_fx.models.known_configs import known_configs, near_configs
from theseus_fx.models.rejection import no_weights, unknown_model

_SHOWN = 5
"""Fields that a diagnostic shows as an example."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The published configuration of a model."""

    fields: Mapping[str, Any]
    """As in `config.json`; what it leaves out has the default of the configuration class."""
    origin: str
    """One sentence for the reader of a plan: which configuration this is and where it comes from."""


def find_configuration(invocation: Invocation, config_class: Any, hub_name: str) -> Configuration:
    """The configuration of a hub name: of a local folder, of the hub's cache, or of the built-in table.

    Args:
        invocation: what is blamed.
        config_class: the configuration class of the model class that the spec names.
        hub_name: `openai-community/gpt2`, an older name such as `gpt2`, or a folder with a `config.json`.

    Raises:
        Rejected: THX707 where the name is in none of them or the file is damaged, THX301 where the
            configuration is that of another family of models.
    """
    file = _local_file(hub_name)
    if file is not None:
        fields = _read(invocation, hub_name, file)
        place = "its folder" if Path(hub_name).is_dir() else "the hub's cache on this machine"
        found = Configuration(fields=fields, origin=_origin(hub_name, place))
    elif (known := known_configs().get(hub_name)) is not None:
        fields = {**deepcopy(dict(known.fields)), "model_type": known.model_type}
        found = Configuration(
            fields=fields, origin=_origin(hub_name, "the built-in table of published sizes")
        )
    else:
        raise _unknown(invocation, config_class, hub_name)
    family = found.fields.get("model_type", config_class.model_type)
    if family != config_class.model_type:
        raise unknown_model(
            invocation,
            f"`{hub_name}` is a model of the family `{family}`, and `{invocation.name}` takes "
            f"`{config_class.model_type}`",
            argument="0",
            helps=_listed("of that family are", near_configs(hub_name, config_class.model_type)),
        )
    return found


def _origin(hub_name: str, place: str) -> str:
    return f"configuration of `{hub_name}` from {place}; the hub was not asked"


def _local_file(hub_name: str) -> Path | None:
    """The `config.json` of a folder or of the hub's cache, where there is one."""
    if Path(hub_name).is_dir():
        return Path(hub_name) / "config.json"
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(hub_name, "config.json")
    except HFValidationError:  # no name that the hub could have
        return None
    return Path(found) if isinstance(found, str) else None


def _read(invocation: Invocation, hub_name: str, file: Path) -> dict[str, Any]:
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise no_weights(invocation, f"the configuration of `{hub_name}` cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise no_weights(invocation, f"the configuration of `{hub_name}` cannot be read: {file} is no object")
    return fields


def _unknown(invocation: Invocation, config_class: Any, hub_name: str) -> Rejected:
    example = ", ".join(f"{name} = {value}" for name, value in _sizes(config_class).items())
    return no_weights(
        invocation,
        f"the configuration of `{hub_name}` is neither in the hub's cache on this machine nor in the "
        "built-in table of published sizes, and planning does not ask the hub",
        helps=(
            *_listed("the table has", near_configs(hub_name, config_class.model_type)),
            f"or write its fields instead of its name: `{invocation.name}({example})`",
            f"or fetch it once: `hf download {hub_name} config.json`",
        ),
    )


def _listed(words: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return (f"{words} {', '.join(f'`{name}`' for name in names)}",) if names else ()


def _sizes(config_class: Any) -> dict[str, int]:
    """The first fields of a configuration class that are sizes, with their defaults."""
    fields: dict[str, Any] = config_class().to_dict()
    sizes = {
        name: value
        for name, value in fields.items()
        if type(value) is int and value > 1 and not name.endswith("_id")
    }
    return dict(list(sizes.items())[:_SHOWN])
