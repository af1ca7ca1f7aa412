"""What a transformers model has to leave out while it is recorded; nothing here imports transformers."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from theseus_fx.graph.values import InputSpec


def without_cache(copied: nn.Module) -> nn.Module:
    """Switches off the cache of keys and values in a copy of a model, in place, and returns it.

    The cache is an object that changes from call to call and has no form in a graph; a forward pass over
    whole sequences computes the same without it.
    """
    transformers = sys.modules.get("transformers")
    if transformers is None:
        return copied
    for module in copied.modules():
        if isinstance(module, transformers.PreTrainedModel):
            config: Any = module.config
            if hasattr(config, "use_cache"):
                config.use_cache = False
    return copied


@contextmanager
def one_sequence_a_row(inputs: Sequence[InputSpec]) -> Generator[None, None, None]:
    """While it holds, a row of a batch is one sequence, unless `position_ids` are among the inputs.

    A traced run of transformers cannot look whether several sequences are packed into a row, and so masks
    them apart in any case, where an eager run finds none and asks for a causal attention kernel.
    """
    masking: Any = sys.modules.get("transformers.masking_utils")
    if masking is None or any(spec.name == "position_ids" for spec in inputs):
        yield
        return
    finder = masking.find_packed_sequence_indices
    masking.find_packed_sequence_indices = _none_packed
    try:
        yield
    finally:
        masking.find_packed_sequence_indices = finder


def _none_packed(*_: object, **__: object) -> None:
    """What the search gives in an eager run that finds one sequence in every row."""
