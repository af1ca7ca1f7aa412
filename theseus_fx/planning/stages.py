"""From layouts to stages: taps, what flows in, costs, and whether the metrics fit the values compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from theseus_fx.graph.cost import executed_share
from theseus_fx.graph.trace import Trace
from theseus_fx.lang.diagnostics import Diagnostic, Label
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import Alignment
from theseus_fx.planning.plan import GuideInput, PartStart, Stage, Tap
from theseus_fx.planning.schedules import Layout
from theseus_fx.planning.taps import called
from theseus_fx.planning.units import Unit

_UNBIASED = 4
"""The unbiased HSIC divides by b (b - 3) (Song et al. 2007, eq. 5)."""


def make_stages(
    traced: Trace,
    flops: Mapping[str, int],
    units: Sequence[Unit],
    layouts: Sequence[Layout],
    settings: Sequence[Alignment],
    starts: Mapping[str, PartStart],
    *,
    feed: Literal["target", "guide"],
) -> tuple[Stage, ...]:
    """The stages of a plan.

    Args:
        traced: the guide.
        flops: its forward FLOPs of one sample, by node.
        units: what is introduced and trained.
        layouts: which of them each stage introduces and trains, by name.
        settings: of each stage.
        starts: how each unit begins.
        feed: whose values flow into the units.
    """
    known = {unit.name: unit for unit in units}
    stages: list[Stage] = []
    for layout, alignment in zip(layouts, settings, strict=True):
        trained = [known[name] for name in layout.trains]
        taps = _taps(traced, alignment, trained)
        fed = trained if feed == "guide" else ()
        stages.append(
            Stage(
                number=layout.number,
                group=layout.group,
                introduces=layout.introduces,
                newest=layout.newest,
                trains=layout.trains,
                taps=taps,
                guide_inputs=tuple(GuideInput(part=unit.name, nodes=unit.inputs) for unit in fed),
                alignment=alignment,
                starts=tuple(starts[name] for name in layout.introduces),
                guide_share=executed_share(traced, flops, [tap.node for tap in taps]),
                trainable_parameters=sum(unit.parameters for unit in trained),
            )
        )
    return tuple(stages)


def metric_problems(stages: Sequence[Stage], batch_size: int | None) -> Iterator[Diagnostic]:
    """THX523 for each metric or measure that the values compared do not allow, once for each place."""
    blamed: set[Span] = set()
    for stage in stages:
        for span, message, fix in _unfit(stage, batch_size):
            if span not in blamed:
                blamed.add(span)
                yield Diagnostic(code="THX523", message=message, primary=Label(span), help=(fix,))


def _taps(traced: Trace, alignment: Alignment, trained: Sequence[Unit]) -> tuple[Tap, ...]:
    """The taps of what is trained; where outputs are distilled, the model's output and nothing else."""
    if alignment.metric.name == "distill":
        return (Tap(part=None, node=traced.output, shape=traced.value(traced.output).shape),)
    return tuple(tap for unit in trained for tap in unit.taps)


def _unfit(stage: Stage, batch_size: int | None) -> Iterator[tuple[Span, str, str]]:
    settings = stage.alignment
    tokens = settings.rows.kind == "tokens"
    if tokens and settings.rows.span is not None:
        sides = [(tap, shape) for tap in stage.taps for shape in (tap.shape, tap.target_shape) if shape]
        flat = next(((tap, shape) for tap, shape in sides if len(shape) != 3), None)
        if flat is not None:
            shape = " x ".join(map(str, flat[1]))
            said = f"`{called(flat[0])}` is {shape}: rows of tokens need batch x tokens x features"
            yield settings.rows.span, said, "write `rows = samples`"
        elif tap := next((t for t in stage.taps if t.target_shape and t.target_shape[1] != t.shape[1]), None):
            said = f"`{called(tap)}` has other rows of tokens in the guide than in the replacement"
            yield settings.rows.span, said, "write `rows = samples`"
    rows = _rows(stage, batch_size)
    if rows is None:
        return
    conditions = [
        *([] if settings.until is None else [settings.until]),
        *(g.condition for g in settings.gates),
    ]
    measures = [(settings.metric.name, settings.metric.arguments, settings.metric.span)]
    measures += [(c.measure, c.arguments, c.span) for c in conditions]
    for name, arguments, span in measures:
        neighbours = arguments.get("k")
        spare = 1 if arguments.get("support") == "soft" else 0  # the soft choice leaves at least one out
        if isinstance(neighbours, int) and neighbours + spare >= rows:
            said = f"`{name}` looks at {neighbours} neighbours, and there are {rows - 1} other rows"
            yield span, said, f"write a `k` below {rows - spare}, or compare more rows"
        if name == "ucka" and rows < _UNBIASED:
            yield span, f"`ucka` needs {_UNBIASED} rows, and there are {rows}", "write `metric = cka`"


def _rows(stage: Stage, batch_size: int | None) -> int | None:
    """How many rows a batch of a stage has at least; None where the batch size is not known."""
    rows = stage.alignment.rows
    if rows.kind == "samples" or batch_size is None:
        return batch_size if rows.kind == "samples" else rows.at_most
    positions = [tap.shape[1] for tap in stage.taps if len(tap.shape) > 1 and isinstance(tap.shape[1], int)]
    tokens = batch_size * min(positions, default=1)
    return tokens if rows.at_most is None else min(tokens, rows.at_most)
