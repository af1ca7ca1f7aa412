"""What every piece of a run shares, and the units that it is made of.

A run is a list of units (train the guide, align, fine-tune at one rate, ...). The result of a unit is a
function of its inputs and the seed alone: every step seeds its own randomness, so nothing but parameters,
optimizer state and the step number has to survive a kill. A finished unit is never run again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.run import checkpoint
from theseus_fx.run.events import Observer
from theseus_fx.run.folder import Metrics, read_json, write_bytes, write_json
from theseus_fx.run.interrupt import Interrupted, StopRequest

CHECKPOINT_SECONDS = 30.0
"""How much work a kill may cost; stages end with a checkpoint besides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One process working on one run."""

    folder: Path
    device: torch.device
    seed: int
    observer: Observer
    stop: StopRequest
    checkpoint_seconds: float = CHECKPOINT_SECONDS

    @property
    def metrics(self) -> Metrics:
        """`metrics.jsonl` of the run."""
        return Metrics(self.folder / "metrics.jsonl")

    def unit(self, name: str) -> Unit:
        """The unit of that name; slashes make folders."""
        return Unit(session=self, name=name)

    def finished_bytes(self) -> int:
        """How far the metrics go that belong to finished units."""
        results = (self.folder / "work").rglob("result.json")
        return max((read_json(path)["metrics_bytes"] for path in results), default=0)

    def heed_stop(self) -> None:
        """Raises `Interrupted` where the person asked to stop; called where nothing can be lost."""
        if self.stop:
            raise Interrupted(self.folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A named piece of a run whose result is kept."""

    session: Session
    name: str

    @property
    def folder(self) -> Path:
        """Where its checkpoints and its result are."""
        return self.session.folder / "work" / self.name

    def finished(self) -> Result | None:
        """Its result, if it has been run to the end.

        Raises:
            Rejected: THX705 where the result is there but cannot be read.
        """
        path = self.folder / "result.json"
        if not path.exists():
            return None
        try:
            tensors = load((self.folder / "state.safetensors").read_bytes())
        except (OSError, SafetensorError) as error:
            raise Rejected(
                Diagnostic(
                    code="THX705",
                    message=f"the result of {self.name} in {self.folder} is damaged: {error}",
                    help=(f"remove {path} to have that piece run again",),
                )
            ) from error
        device = self.session.device
        return Result(facts=read_json(path), tensors={k: v.to(device) for k, v in tensors.items()})

    def finish(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Result:
        """Keeps the result: the tensors first, so that `result.json` says that all of it is there."""
        # copies, for tied parameters share their memory, which the format refuses
        held = {k: v.detach().contiguous().cpu().clone() for k, v in tensors.items()}
        write_bytes(self.folder / "state.safetensors", save(held))
        write_json(self.folder / "result.json", {**facts, "metrics_bytes": self.session.metrics.size})
        checkpoint.clear(self.folder)
        return Result(facts=facts, tensors=tensors)

    def resume(self) -> dict[str, Any] | None:
        """The state of its newest whole checkpoint, if it was begun; cuts the metrics to that point."""
        session = self.session
        state = checkpoint.latest(self.folder, device=session.device, warn=session.observer.say)
        session.metrics.cut(session.finished_bytes() if state is None else state["metrics_bytes"])
        return state

    def keep(self, number: int, state: Mapping[str, Any]) -> None:
        """Writes checkpoint `number`."""
        checkpoint.save(self.folder, number, {**state, "metrics_bytes": self.session.metrics.size})


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a finished unit leaves."""

    facts: Mapping[str, Any]
    """JSON values."""
    tensors: Mapping[str, Tensor]


@dataclass(slots=True)
class Stopwatch:
    """Seconds of work, kept over kills."""

    before: float = 0.0
    """Seconds that earlier processes spent on it."""
    _start: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        return self.before + time.perf_counter() - self._start
