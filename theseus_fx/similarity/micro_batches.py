"""The exact gradient of a similarity of a whole batch that is computed in pieces.

A similarity compares all samples of a batch with each other, so the mean over pieces of it is another
quantity, with another gradient. Two passes give the exact one (as GradCache, Gao et al. 2021): the first
computes the activations of every piece without a graph, the loss of all of them gives their gradients, and
the second computes each piece again and sends its rows of the gradient on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

Piece = TypeVar("Piece")


def backward_in_pieces(
    forward: Callable[[Piece], Sequence[Tensor]],
    pieces: Sequence[Piece],
    loss: Callable[[Sequence[Tensor]], Tensor],
    *,
    modules: Iterable[nn.Module] = (),
) -> Tensor:
    """Adds the gradient of the loss of the whole batch to the parameters that `forward` uses.

    Random numbers and the buffers of `modules` (BatchNorm's statistics) are in the end what one pass over the
    pieces
    leaves, and the second pass draws and sees what the first did: a piece's dropout is the same in both. In
        training
    mode BatchNorm normalises by the statistics of a piece, as it does in any accumulation of gradients.

    Args:
        forward: activations of a piece, a row for each of its samples; those without a gradient, as the
            guide's, may be among them.
        pieces: of the batch, in order; at least one.
        loss: a scalar of the activations of the whole batch, in the order of `forward`'s.
        modules: whose buffers `forward` changes.

    Returns:
        The loss, (), detached.

    Raises:
        ValueError: no pieces.
    """
    if not pieces:
        raise ValueError("a batch of no pieces")
    buffers = [buffer for module in modules for buffer in module.buffers()]
    before = [buffer.clone() for buffer in buffers]
    states: list[_Random] = []
    outputs: list[Sequence[Tensor]] = []
    with torch.no_grad():
        for piece in pieces:
            states.append(_Random.now())
            outputs.append(tuple(forward(piece)))
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
    whole = [torch.cat(parts) for parts in zip(*outputs, strict=True)]
    sizes = [len(parts[0]) for parts in outputs]
    del outputs
    leaves = [x.requires_grad_(x.is_floating_point()) for x in whole]
    value = loss(leaves)
    gradients: list[Tensor | None] = list(torch.autograd.grad(value, leaves, allow_unused=True))
    del whole, leaves

    start = 0
    for piece, state, size in zip(pieces, states, sizes, strict=True):
        state.restore()
        again = forward(piece)
        pairs = [
            (x, g[start : start + size])
            for x, g in zip(again, gradients, strict=True)
            if x.requires_grad and g is not None
        ]
        torch.autograd.backward([x for x, _ in pairs], [g for _, g in pairs])
        start += size
    return value.detach()


@dataclass(frozen=True, slots=True)
class _Random:
    """The states of torch's generators."""

    cpu: Tensor
    cuda: tuple[Tensor, ...]

    @classmethod
    def now(cls) -> _Random:
        devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        return cls(torch.get_rng_state(), tuple(devices))

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(list(self.cuda))
