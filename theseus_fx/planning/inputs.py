"""The inputs that a model declares itself, for a spec that says nothing about them."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.source import Span

_LENGTH = 128
"""Tokens of a sequence in the sentence that a diagnostic proposes."""


def own_inputs(model: nn.Module, place: Span | None) -> tuple[InputSpec, ...]:
    """The input of a transformers model for images, by the size and channels of its configuration.

    Args:
        model: the guide.
        place: the sentence to blame where the model does not say.

    Raises:
        Rejected: THX207 for every other model, with the sentence to write.
    """
    config = _config(model)
    if config is not None and model.main_input_name == "pixel_values":
        if (shape := _image_shape(config)) is not None:
            return (InputSpec(name="pixel_values", dtype=torch.float32, shape=("batch", *shape)),)
    elif config is not None and model.main_input_name == "input_ids":
        raise _silent(
            place,
            "nothing says how many tokens a sequence has",
            _token_sentence(config),
            "its input has no length",
        )
    raise _silent(
        place,
        "nothing says what the guide's input looks like",
        "write `input image: f32[batch, 3, 224, 224]`, or a `data` sentence",
        "its input has no shape",
    )


def _config(model: nn.Module) -> Any:
    """The configuration of a transformers model, None for any other; imports nothing."""
    transformers = sys.modules.get("transformers")
    if transformers is None or not isinstance(model, transformers.PreTrainedModel):
        return None
    return model.config


def _image_shape(config: Any) -> tuple[int, int, int] | None:
    fields: dict[str, Any] = config.to_dict()
    channels, size = fields.get("num_channels"), fields.get("image_size")
    sides = (size, size) if isinstance(size, int) else size
    match channels, sides:
        case int(), (int(height), int(width)) | [int(height), int(width)]:
            return channels, height, width
        case _:
            return None


def _token_sentence(config: Any) -> str:
    longest = getattr(config, "max_position_embeddings", None)
    if not isinstance(longest, int):
        return f"write `input tokens: i64[batch, {_LENGTH}]`"
    return f"write `input tokens: i64[batch, {min(_LENGTH, longest)}]`; the model takes at most {longest:,}"


def _silent(place: Span | None, message: str, fix: str, label: str) -> Rejected:
    primary = None if place is None else Label(place, label)
    return Rejected(Diagnostic(code="THX207", message=message, primary=primary, help=(fix,)))
