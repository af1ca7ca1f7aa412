"""From the name and arguments in a spec to a network, and to a description that needs no spec."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from theseus_fx.lang.code import Code
from theseus_fx.lang.diagnostics import did_you_mean
from theseus_fx.lang.source import Source
from theseus_fx.lang.spec import Invocation, Value
from theseus_fx.models import from_python, from_torchvision, from_transformers
from theseus_fx.models.rejection import CONSTRUCTOR_ERRORS, refused, unknown_model
from theseus_fx.models.weightless import weightless
from theseus_fx.models.zoo import ZOO

LIBRARIES = ("torchvision", "transformers")
"""Libraries whose models a spec may name, as `library.NAME(...)`."""


def build(invocation: Invocation, *, device: torch.device, weights: bool) -> nn.Module:
    """The network that the invocation names, in evaluation mode.

    With `weights`, those that the invocation asks for are loaded (from the cache, or downloaded) on the
    CPU and moved to `device`. Without, nothing is read from network or disk: on the meta device no
    number is drawn either and no memory used; elsewhere parameters are random, drawn on the CPU from
    PyTorch's global generator, so that a seed means the same network on every device.

    Raises `Rejected`: THX301 for an unknown library, model or argument, THX707 for weights that cannot
    be had. Raises ValueError for weights on the meta device.
    """
    meta = device.type == "meta"
    if meta and weights:
        raise ValueError("the meta device holds no weights")
    _check_values(invocation)
    if invocation.code is not None:
        return _from_code(invocation, invocation.code, meta=meta).to(device).eval()
    library, _, name = invocation.name.rpartition(".")
    match library:
        case "torchvision":
            model = from_torchvision.build(invocation, name, meta=meta, weights=weights)
        case "transformers":
            model = from_transformers.build(invocation, name, meta=meta, weights=weights)
        case "":
            model = _from_zoo(invocation, name, meta=meta)
        case _:
            raise unknown_model(
                invocation, f"no library `{library}` is read", helps=did_you_mean(library, LIBRARIES)
            )
    return model.to(device).eval()


def notes(invocation: Invocation) -> tuple[str, ...]:
    """What a reader should know of the network that `build` makes without weights, one sentence each.

    Raises `Rejected` like `build`.
    """
    library, _, name = invocation.name.rpartition(".")
    origin = from_transformers.origin(invocation, name) if library == "transformers" else None
    return () if origin is None else (origin,)


def describe(invocation: Invocation) -> dict[str, Any]:
    """The invocation as plain JSON values, enough for `rebuild`; with the text of a file that it runs."""
    _check_values(invocation)
    return {
        "name": invocation.name,
        "positional": [_as_json(value) for value in invocation.positional],
        "keywords": {key: _as_json(value) for key, value in invocation.keywords.items()},
        **({} if invocation.code is None else {"code": from_python.as_json(invocation.code)}),
    }


def rebuild(description: Mapping[str, Any], *, device: torch.device | None = None) -> nn.Module:
    """The architecture of a description, without weights and in evaluation mode; on the CPU by default.

    Raises `Rejected` like `build`, with the description as the text that is blamed, and KeyError or
    TypeError for what `describe` never wrote.
    """
    name = description["name"]
    positional = tuple(_from_json(value) for value in description["positional"])
    keywords = {key: _from_json(value) for key, value in description["keywords"].items()}
    shown = [repr(value) for value in positional] + [f"{key} = {value!r}" for key, value in keywords.items()]
    text = f"{name}({', '.join(shown)})"
    invocation = Invocation(
        name=name,
        positional=positional,
        keywords=keywords,
        span=Source("<saved architecture>", text).span(0, len(text)),
        spans={},
        code=from_python.from_json(description["code"]) if "code" in description else None,
    )
    return build(invocation, device=device or torch.device("cpu"), weights=False)


def _from_code(invocation: Invocation, code: Code, *, meta: bool) -> nn.Module:
    """The model of a person's own file; its weights are those that its constructor gives it."""
    kind = from_python.load_class(code, invocation.span)
    try:
        with weightless() if meta else nullcontext():
            return kind(*invocation.positional, **invocation.keywords)
    except CONSTRUCTOR_ERRORS as error:
        raise refused(invocation, error) from error


def _from_zoo(invocation: Invocation, name: str, *, meta: bool) -> nn.Module:
    if name not in ZOO:
        elsewhere = from_torchvision.has(name)
        helps = (f"did you mean `torchvision.{name}`?",) if elsewhere else did_you_mean(name, tuple(ZOO))
        raise unknown_model(invocation, f"there is no model `{name}`", helps=helps)
    try:
        with weightless() if meta else nullcontext():
            return ZOO[name](*invocation.positional, **invocation.keywords)
    except CONSTRUCTOR_ERRORS as error:
        raise refused(invocation, error) from error


def _check_values(invocation: Invocation) -> None:
    named = [(str(place), value) for place, value in enumerate(invocation.positional)]
    for argument, value in [*named, *invocation.keywords.items()]:
        if not _is_plain(value):
            raise unknown_model(
                invocation,
                f"an argument of a model is a number, a string, true, false, none or a list, not `{value}`",
                argument=argument,
            )


def _is_plain(value: Value) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, int | float | str)


def _as_json(value: Value) -> Any:
    return [_as_json(item) for item in value] if isinstance(value, tuple) else value


def _from_json(value: Any) -> Value:
    return tuple(_from_json(item) for item in value) if isinstance(value, list) else value
