"""Budgets in steps, and the learning rate over a phase."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from theseus_fx.lang.spec import Amount, LearningRate, Plateau
from theseus_fx.run.smoothing import LOOKS, Smoothed

LESS = 1e-4
"""By which share a smoothed loss has to fall to count as fallen; torch's default."""


def steps_of(amount: Amount, steps_per_epoch: int) -> int:
    """A budget in gradient steps; a batch is a step."""
    return amount.count * steps_per_epoch if amount.unit == "epochs" else amount.count


def rate_schedule(
    rate: LearningRate, peak: float, *, steps: int, steps_per_epoch: int
) -> Callable[[int], float]:
    """The learning rate at each 0-based step: linear warm-up, then constant, a half cosine or a line to zero.

    The warm-up reaches the peak at its last step. Of `plateau` it is the rate before it is ever lowered.
    Source of the cosine: Loshchilov and Hutter 2017, eq. 5, no restarts.
    """
    warmup = 0 if rate.warmup is None else min(steps_of(rate.warmup, steps_per_epoch), steps)

    def at(step: int) -> float:
        if step < warmup:
            return peak * (step + 1) / warmup
        if rate.shape in ("constant", "plateau") or steps == warmup:
            return peak
        gone = (step - warmup) / (steps - warmup)
        return peak * (1 - gone if rate.shape == "linear" else 0.5 * (1 + math.cos(math.pi * gone)))

    return at


class PlateauRate:
    """Lowers an optimizer's learning rate where the smoothed loss has stopped falling (paper, appendix K).

    The loss is looked at every `every` steps, a tenth of its window, and never less often than `patience`.
    The decision is torch's: the rate is multiplied by `factor` once as many looks as `patience` has steps
    have brought no loss that is lower than the lowest by a share of 1e-4; then the count begins anew.
    """

    def __init__(self, plateau: Plateau, optimizer: Optimizer, *, steps_per_epoch: int) -> None:
        patience = steps_of(plateau.patience, steps_per_epoch)
        window = steps_of(plateau.average, steps_per_epoch)
        self.every = max(1, min(window // LOOKS, patience))
        """Steps between two looks."""
        self._scheduler = ReduceLROnPlateau(
            optimizer,
            factor=plateau.factor,
            patience=-(-patience // self.every) - 1,  # torch counts one look more
            threshold=LESS,
            min_lr=plateau.least,
            eps=0.0,
        )

    def look(self, step: int, loss: Smoothed) -> None:
        """Told after every step, by its 1-based number; waits for the device at every `every`-th."""
        if step % self.every == 0:
            self._scheduler.step(loss.value())

    def state_dict(self) -> dict[str, Any]:
        """Best loss and how long ago it was; the rate itself is the optimizer's."""
        kept = self._scheduler.state_dict()
        return {name: kept[name] for name in ("best", "num_bad_epochs", "last_epoch")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state that was kept."""
        self._scheduler.load_state_dict(state)
