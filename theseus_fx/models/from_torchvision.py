"""Image classification models of torchvision, by the name of their builder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pickle import UnpicklingError
from types import MappingProxyType
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models import WeightsEnum

from theseus_fx.lang.diagnostics import did_you_mean
from theseus_fx.lang.spec import Invocation
from theseus_fx.models.rejection import CONSTRUCTOR_ERRORS, no_weights, refused, unknown_model
from theseus_fx.models.weightless import weightless

_IMPLIED: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "googlenet": {"transform_input": True, "aux_logits": False, "init_weights": False},
        "inception_v3": {"transform_input": True, "init_weights": False},
    }
)
"""Arguments that these builders set themselves as soon as weights are named."""


def build(invocation: Invocation, name: str, *, meta: bool, weights: bool) -> nn.Module:
    """The model `torchvision.NAME(...)` on the CPU; with `meta` its parameters are on the meta device.

    Without `weights`, the network is the one that the weights named would fill, but nothing is read.
    Raises `Rejected`: THX301 for a name, an argument or weights that torchvision does not know, THX707
    for weights that are neither cached nor downloadable.
    """
    arguments = dict(invocation.keywords)
    if invocation.positional:
        raise unknown_model(invocation, f"`{invocation.name}` takes keyword arguments only", argument="0")
    _check_name(invocation, name)
    named = _named_weights(invocation, name, arguments.pop("weights", None))
    if named is None or not weights:
        arguments = _implied(invocation, name, named, arguments)
        try:
            with weightless() if meta else nullcontext():
                return torchvision.models.get_model(name, weights=None, **arguments)
        except CONSTRUCTOR_ERRORS as error:
            raise refused(invocation, error) from error
    # Rejects what the constructor rejects first, so that what fails below is the download.
    build(invocation, name, meta=True, weights=False)
    try:
        return torchvision.models.get_model(name, weights=named, **arguments)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:  # unreachable, or a damaged file
        raise no_weights(
            invocation,
            f"the weights `{named.name}` of `{invocation.name}` are neither cached nor downloadable: {error}",
            helps=(f"download {named.url} into {torch.hub.get_dir()}/checkpoints",),
        ) from error


def has(name: str) -> bool:
    """Whether torchvision has an image classification model of this name."""
    return name in _classifiers()


def _classifiers() -> list[str]:
    return torchvision.models.list_models(module=torchvision.models)


def _check_name(invocation: Invocation, name: str) -> None:
    if has(name):
        for legacy in ("pretrained", "progress"):
            if legacy in invocation.keywords:
                raise unknown_model(
                    invocation,
                    f"`{invocation.name}` has no argument `{legacy}` here",
                    argument=legacy,
                    helps=('weights are named: `weights = "DEFAULT"`',) if legacy == "pretrained" else (),
                )
        return
    if name in torchvision.models.list_models():
        raise unknown_model(invocation, f"`torchvision.{name}` is not an image classification model")
    raise unknown_model(
        invocation,
        f"torchvision has no model `{name}`",
        helps=did_you_mean(name, _classifiers(), what="models"),
    )


def _named_weights(invocation: Invocation, name: str, value: object) -> WeightsEnum | None:
    if value is None:
        return None
    known = torchvision.models.get_model_weights(name)
    if isinstance(value, str):
        short = value.removeprefix(f"{known.__name__}.")
        if short in known.__members__:  # aliases such as DEFAULT included
            return known[short]
    raise unknown_model(
        invocation,
        f"`{invocation.name}` has no weights `{value}`",
        argument="weights",
        helps=did_you_mean(str(value), [*known.__members__, "none"], what="weights"),
    )


def _implied(
    invocation: Invocation, name: str, named: WeightsEnum | None, arguments: dict[str, Any]
) -> dict[str, Any]:
    """The arguments together with those that the weights decide: the size of the head and of the input."""
    if named is None:
        return arguments
    decided: dict[str, Any] = {}
    if named.meta["categories"] is not None:  # VGG-16 has weights of the features alone
        decided["num_classes"] = len(named.meta["categories"])
    if name.startswith("vit_"):
        decided["image_size"] = named.meta["min_size"][0]
    if name.startswith("maxvit_"):
        decided["input_size"] = named.meta["min_size"]
    for key, value in decided.items():
        if key in arguments and arguments[key] != value:
            raise unknown_model(
                invocation,
                f"the weights `{named.name}` need `{key} = {value}`, not {arguments[key]}",
                argument=key,
                helps=("leave it out, or take `weights = none`",),
            )
    return {**_IMPLIED.get(name, {}), **arguments, **decided}
