"""The inputs that a model is most often given, where neither spec nor command line says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torchvision
from torch import nn

from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import Invocation

IMAGE_SIZE = 224
"""Height and width for classifiers of torchvision whose weights do not say otherwise."""
SMALL_IMAGE_SIZE = 32
"""Height and width for networks of the package that do not say otherwise."""
TOKENS = 128
"""The length of a text, or less where the model has fewer positions."""

_LONGEST = ("max_position_embeddings", "n_positions", "max_source_positions")


def usual_inputs(invocation: Invocation, model: nn.Module) -> tuple[InputSpec, ...]:
    """Images or tokens of the size that the model is made for.

    Args:
        invocation: what the model was made from.
        model: the network, on any device.

    Raises:
        Rejected: THX207 where the model takes something else; it has to be declared then.
    """
    if invocation.code is not None:
        raise Rejected(
            Diagnostic(
                code="THX207",
                message=f"nothing says what `{invocation.name}` takes",
                primary=Label(invocation.span),
                help=("write `--input 'image: f32[batch, 3, 224, 224]'`, or an `input` sentence in a spec",),
            )
        )
    library = invocation.name.rpartition(".")[0]
    if library == "torchvision":
        return (_image("image", 3, _torchvision_size(invocation)),)
    if library == "transformers":
        return _transformers_inputs(invocation, model)
    channels, size = (
        int(str(invocation.keywords.get(name, default)))
        for name, default in (("channels", 3), ("size", SMALL_IMAGE_SIZE))
    )
    return (_image("image", channels, (size, size)),)


def _torchvision_size(invocation: Invocation) -> tuple[int, int]:
    for keyword in ("image_size", "input_size"):  # of vision transformers and of MaxViT
        if (size := invocation.keywords.get(keyword)) is not None:
            return _pair(size)
    weights = invocation.keywords.get("weights")
    if isinstance(weights, str):
        known = torchvision.models.get_model_weights(invocation.name.rpartition(".")[2])
        short = weights.removeprefix(f"{known.__name__}.")
        return _pair(known[short].transforms().crop_size[-1])
    return IMAGE_SIZE, IMAGE_SIZE


def _transformers_inputs(invocation: Invocation, model: nn.Module) -> tuple[InputSpec, ...]:
    """By the model's main input: token ids, or pixels of the configuration's size."""
    config: Any = model.config
    main = getattr(model, "main_input_name", None)
    if main == "input_ids":
        longest = [getattr(config, name) for name in _LONGEST if isinstance(getattr(config, name, None), int)]
        tokens = _tokens("input_ids", min([TOKENS, *longest]))
        if getattr(config, "is_encoder_decoder", False):
            return tokens, _tokens("decoder_input_ids", min([TOKENS // 2, *longest]))
        return (tokens,)
    size = getattr(config, "image_size", None)
    if main == "pixel_values" and size is not None:
        return (_image("pixel_values", getattr(config, "num_channels", 3), _pair(size)),)
    if main == "pixel_values":  # convolutional: any size
        return (_image("pixel_values", getattr(config, "num_channels", 3), (IMAGE_SIZE, IMAGE_SIZE)),)
    raise Rejected(
        Diagnostic(
            code="THX207",
            message=f"nothing says what the input `{main}` of `{invocation.name}` looks like",
            primary=Label(invocation.span),
            help=(f"write `--input '{main}: f32[batch, ...]'`, or an `input` sentence in a spec",),
        )
    )


def _image(name: str, channels: int, size: tuple[int, int]) -> InputSpec:
    shape: tuple[int | Literal["batch"], ...] = ("batch", channels, *size)
    return InputSpec(name=name, dtype=torch.float32, shape=shape)


def _tokens(name: str, length: int) -> InputSpec:
    return InputSpec(name=name, dtype=torch.int64, shape=("batch", length))


def _pair(size: object) -> tuple[int, int]:
    if isinstance(size, Sequence):
        height, width = size
        return int(height), int(width)
    return int(str(size)), int(str(size))
