"""The exponential moving average of a loss, kept where the loss is, so that nothing waits for the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

WINDOW = 500
"""Steps that the loss is averaged over where a spec says nothing (paper, appendix K)."""
LOOKS = 10
"""How often in a window, or in a budget, the average is read off the device."""


class Smoothed:
    """An average of N steps: weights fall by 1 - 2 / (N + 1) a step and sum to one from the first step on."""

    def __init__(self, window: int) -> None:
        """
        Args:
            window: N, in steps.
        """
        self._share = 2 / (window + 1)
        self._sum: Tensor | None = None  # (), float64, on the loss's device
        self._weight = 0.0

    def add(self, loss: Tensor) -> None:
        """Takes in the loss of one step, (); does not wait for the device."""
        loss = loss.detach().double()
        before = torch.zeros_like(loss) if self._sum is None else self._sum
        self._sum = before + self._share * (loss - before)
        self._weight += self._share * (1 - self._weight)

    def value(self) -> float:
        """The average; waits for the device. NaN before the first step."""
        return float("nan") if self._sum is None else float(self._sum) / self._weight

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` goes on from."""
        return {"sum": self._sum, "weight": self._weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state that was kept."""
        self._sum, self._weight = state["sum"], state["weight"]
