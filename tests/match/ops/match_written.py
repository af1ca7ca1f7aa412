"""Patterns written in Python, and graphs to search."""

from __future__ import annotations

import torch
from torch import nn

from theseus_fx.graph.trace import trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.operations import (
    Function,
    Input,
    ModuleClass,
    OperationPattern,
    Pattern,
    Step,
)
from theseus_fx.match.ops.index import Index, make_index


def module(name: str, *operands: Pattern, **attributes: object) -> Step:
    return Step(ModuleClass(name), operands, attributes)  # pyright: ignore[reportArgumentType]


def function(name: str, *operands: Pattern, **attributes: object) -> Step:
    return Step(Function(name), operands, attributes)  # pyright: ignore[reportArgumentType]


def whole(result: Pattern, *inputs: Input, bindings: tuple[str, ...] = ()) -> OperationPattern:
    names = tuple(i.name for i in inputs) or ("x",)
    return OperationPattern(name="written", inputs=names, result=result, bindings=bindings)


def image(model: nn.Module, size: int = 64) -> Index:
    spec = InputSpec(name="x", dtype=torch.float32, shape=("batch", 3, size, size))
    return make_index(trace(model, [spec]), model)


def tokens(model: nn.Module, length: int = 16, *, masked: bool = False) -> Index:
    names = ["input_ids", "attention_mask"] if masked else ["input_ids"]
    specs = [InputSpec(name=name, dtype=torch.int64, shape=("batch", length)) for name in names]
    return make_index(trace(model, specs), model)
