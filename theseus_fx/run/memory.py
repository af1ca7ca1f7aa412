"""Out of memory: the batch goes through in twice as many pieces, and the step is taken again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from theseus_fx.lang.diagnostics import Diagnostic, Rejected

T = TypeVar("T")


def in_memory(
    attempt: Callable[[int], T], pieces: int, *, most: int, title: str, say: Callable[[str], None]
) -> tuple[T, int]:
    """The result of the first attempt that the device has memory for, and its number of pieces.

    Args:
        attempt: takes a step from its beginning in so many pieces.
        pieces: how many to begin with.
        most: as many as a batch has samples.
        title: of the phase.
        say: is told where the number changes.

    Raises:
        Rejected: THX803 where a sample at a time is too much.
    """
    while True:
        try:
            return attempt(pieces), pieces
        except torch.OutOfMemoryError as error:
            if pieces >= most:
                raise _too_large(title) from error
        # out of the handler: the traceback held the tensors of the failed attempt
        pieces = min(2 * pieces, most)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        say(f"{title}: out of memory, so that a batch goes through in {pieces} pieces from now on")


def _too_large(title: str) -> Rejected:
    return Rejected(
        Diagnostic(
            code="THX803",
            message=f"the device has too little memory for one sample at a time of {title}",
            help=(
                "write `checkpointing = true` or `precision = bf16`",
                "the last checkpoint is kept; the run can be resumed from it where there is more memory",
            ),
        )
    )
