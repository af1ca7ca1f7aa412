"""A task of a person's own Python file: a loss and metrics that this package has never heard of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from theseus_fx.data.evaluation import Evaluation, finite, outputs
from theseus_fx.data.source import Batch
from theseus_fx.lang.check_values import shown
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected, first_line
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import Invocation
from theseus_fx.models.from_python import load_class

MEMBERS = ("metric", "direction", "loss", "sums", "values")
"""What a task has."""
T = TypeVar("T")


class TaskProtocol(Protocol):
    """What `task = python("mine.py").MyTask(...)` makes: an object with these."""

    metric: str
    """The name of the value that judges, one of those that `values` gives."""
    direction: Literal["higher", "lower"]
    """Which values of it are better."""

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """What training minimises: a scalar that the outputs have a gradient of."""
        ...

    def sums(self, outputs: Tensor, labels: Tensor) -> Mapping[str, Tensor | float]:
        """Of one batch, what is added up over all of them; `count` among it is how many samples that were."""
        ...

    def values(self, sums: Mapping[str, float]) -> Mapping[str, float]:
        """The metrics by name, from the sums over all batches."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTask:
    """A task whose code is not ours: whatever it does wrong is told with its place in the spec."""

    task: TaskProtocol
    name: str
    """As the spec calls it."""
    identity: str
    """Equal for tasks that train and judge alike: the text of the file, the class and its arguments."""
    metric: str
    direction: Literal["higher", "lower"]
    span: Span

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """What the task's own loss says; `Rejected` THX604 where it fails or is no scalar."""
        value = self._guarded("loss", lambda: self.task.loss(outputs, labels))
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():  # pyright: ignore[reportUnnecessaryIsInstance]
            raise self._failed("loss", f"it gives {_described(value)}, and a loss is one number in a tensor")
        return value.reshape(())

    def evaluate(
        self, model: Callable[..., Tensor], batches: Iterable[Batch], *, device: torch.device | None = None
    ) -> Evaluation:
        """The task's own metrics over all batches, of which the one named `metric` judges.

        Raises `Rejected` THX604 where the task's code fails or gives something else than it should.
        """
        totals: dict[str, Tensor] = {}
        samples = 0
        for said, labels in outputs(model, batches, device):
            samples += len(labels)
            for name, value in self._sums(said, labels).items():
                totals[name] = totals[name] + value if name in totals else value
        if not samples:
            raise ValueError("metrics of no samples")
        sums = {name: float(total) for name, total in totals.items()}
        details = self._values(sums)
        return Evaluation(
            value=details[self.metric], count=round(sums.get("count", samples)), details=details
        )

    def _sums(self, said: Tensor, labels: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            given = self._guarded("sums", lambda: dict(self.task.sums(said, labels)))
        sums: dict[str, Tensor] = {}
        for name, value in given.items():
            number = torch.as_tensor(value, dtype=torch.float64) if _is_number(value) else None
            if number is None:
                message = f"its `{name}` is {_described(value)}, and sums are numbers"
                raise self._failed("sums", message)
            sums[name] = number.reshape(()).to(said.device)
        return sums

    def _values(self, sums: Mapping[str, float]) -> dict[str, float]:
        given = self._guarded("values", lambda: dict(self.task.values(sums)))
        if wrong := [name for name, value in given.items() if not _is_number(value)]:
            message = f"its `{wrong[0]}` is {_described(given[wrong[0]])}, and a metric is a number"
            raise self._failed("values", message)
        if self.metric not in given:
            names = ", ".join(f"`{name}`" for name in given) or "nothing"
            raise self._failed("values", f"it gives {names}, and `metric` is `{self.metric}`")
        worst = 1.0 if self.direction == "lower" else -1.0
        numbers = {name: float(value) for name, value in given.items()}
        return {name: v if math.isfinite(v) else worst * finite(v) for name, v in numbers.items()}

    def _guarded(self, member: str, call: Callable[[], T]) -> T:
        """The result of code that is not ours; running out of memory is left to whoever can use less."""
        try:
            return call()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise self._failed(member, f"{type(error).__name__}: {first_line(error)}") from error

    def _failed(self, member: str, reason: str) -> Rejected:
        message = f"`{member}` of {self.name} fails: {reason}"
        return Rejected(Diagnostic(code="THX604", message=message, primary=Label(self.span)))


def open_task(invocation: Invocation) -> OwnTask:
    """The task that a spec names by its Python file, which is run.

    Raises `Rejected`: THX308 where the file is not trusted, THX309 where it fails, has no such class, or the
    class does not take the arguments or lacks something of `TaskProtocol`.
    """
    code = invocation.code
    if code is None:
        raise ValueError(f"`{invocation.name}` is no code of a person's own")
    kind = load_class(code, invocation.span, base=object, what="class")
    try:
        task: Any = kind(*invocation.positional, **invocation.keywords)
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise _refused(invocation, f"`{code.name}` cannot be made: {reason}") from error
    if missing := [name for name in MEMBERS if not hasattr(task, name)]:
        raise _refused(invocation, f"`{code.name}` is no task: it has no `{'` and no `'.join(missing)}`")
    if task.direction not in ("higher", "lower") or not isinstance(task.metric, str):
        message = f'`{code.name}` is no task: `metric` is a text, `direction` "higher" or "lower"'
        raise _refused(invocation, message)
    return OwnTask(
        task=task,
        name=invocation.name,
        identity=f"{code.source.sha256} {shown(invocation)}",
        metric=task.metric,
        direction=task.direction,
        span=invocation.span,
    )


def _refused(invocation: Invocation, message: str) -> Rejected:
    fix = f"a task has {', '.join(f'`{name}`' for name in MEMBERS)}: see `theseus-fx explain task`"
    return Rejected(Diagnostic(code="THX309", message=message, primary=Label(invocation.span), help=(fix,)))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1)


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        shape = " x ".join(str(size) for size in value.shape)
        return f"a tensor of {shape or 'one number'} {str(value.dtype).removeprefix('torch.')}"
    return f"a {type(value).__name__}"
