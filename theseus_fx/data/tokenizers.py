"""From text to token numbers: bytes and characters without a file, any other tokenizer from its hub name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from theseus_fx.data.arguments import rejected
from theseus_fx.lang.spec import Invocation

BYTES = "bytes"
CHARACTERS = "characters"
BUILT_IN = (BYTES, CHARACTERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """A way to number the pieces of a text."""

    vocabulary: int
    """Token numbers are 0 to vocabulary - 1."""
    encode: Callable[[str], Tensor]
    """A text as (n,) int64."""


def declared_vocabulary(invocation: Invocation) -> int | None:
    """The size of the vocabulary where the name alone says it."""
    return 256 if invocation.keywords["tokenizer"] == BYTES else None


def open_tokenizer(invocation: Invocation, text: str) -> Tokenizer:
    """The tokenizer of the argument `tokenizer`, for a text that is at hand.

    `bytes` are those of UTF-8. `characters` are those that occur in the text, in the order of their code
    points. Any other name is one on the Hugging Face hub, read from there or from its cache, or a folder.

    Raises `Rejected`: THX601 for a tokenizer that cannot be had.
    """
    name = invocation.keywords["tokenizer"]
    if name == BYTES:
        return Tokenizer(vocabulary=256, encode=_bytes)
    if name == CHARACTERS:
        known = np.unique(_code_points(text))
        return Tokenizer(
            vocabulary=len(known), encode=lambda t: torch.from_numpy(np.searchsorted(known, _code_points(t)))
        )
    return _from_hub(invocation, str(name))


def _bytes(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64))


def _code_points(text: str) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)


def _from_hub(invocation: Invocation, name: str) -> Tokenizer:
    import transformers  # an import of seconds

    try:
        loaded = transformers.AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:  # unreachable, unknown or damaged
        first = str(error).strip().partition("\n")[0]
        raise rejected(
            "THX601",
            invocation,
            "tokenizer",
            f"the tokenizer `{name}` is neither cached nor can be had from the hub: {first}",
            f"`tokenizer = {BYTES}` and `tokenizer = {CHARACTERS}` need no file",
        ) from error

    def encode(text: str) -> Tensor:
        return torch.tensor(loaded.encode(text, add_special_tokens=False, verbose=False), dtype=torch.int64)

    return Tokenizer(vocabulary=len(loaded), encode=encode)
