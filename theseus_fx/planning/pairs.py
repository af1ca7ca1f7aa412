"""The plan of a target of its own: pairs of windows, each a stage that trains a region of the target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from theseus_fx.graph.cost import executed_share, forward_flops
from theseus_fx.graph.fingerprint import fingerprint
from theseus_fx.graph.regions import Region, Regions, regions
from theseus_fx.graph.trace import Trace, trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import Alignment, Schedule, Spec, Start, Target
from theseus_fx.match.alike import merged
from theseus_fx.match.blocks import Network
from theseus_fx.match.pairs import Match, match_pairs
from theseus_fx.match.windows import Window
from theseus_fx.planning.attempt import attempt
from theseus_fx.planning.copies import shapes, shared, unlike
from theseus_fx.planning.paired import Pair, PairSide, TargetNetwork
from theseus_fx.planning.plan import PartStart, Plan, Stage, Tap, Totals
from theseus_fx.planning.recalibration import recalibration
from theseus_fx.planning.schedules import Layout, lay_out
from theseus_fx.planning.settings import alignments
from theseus_fx.planning.stages import make_stages, metric_problems
from theseus_fx.planning.units import Reference, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """One network with its costs, cut at its taps."""

    trace: Trace
    flops: Mapping[str, int]
    regions: Regions

    @classmethod
    def of(cls, network: Network, windows: Sequence[Window]) -> _Cut:
        taps = [window[-1].node for window in windows]
        return cls(
            trace=network.trace,
            flops=forward_flops(network.trace, network.model),
            regions=regions(network.trace, network.model, taps),
        )

    def side(self, window: Window, region: Region) -> PairSide:
        return PairSide(
            blocks=tuple(block.name for block in window),
            node=window[-1].node,
            shape=window[-1].shape,
            parameters=region.size,
            flops=sum(self.flops[name] for name in region.nodes),
        )

    def share(self, taps: Sequence[str]) -> float:
        return executed_share(self.trace, self.flops, taps)


def plan_pairs(
    spec: Spec,
    model: nn.Module,
    target: nn.Module,
    *,
    guide: str,
    inputs: Sequence[InputSpec],
    batch_size: int | None,
    assignments: Mapping[str, str] | None = None,
) -> Plan:
    """The plan of a spec with a `target`; both networks may be on the meta device.

    Raises:
        Rejected: THX3xx to THX5xx, all errors of a phase together.
    """
    if spec.target is None:
        raise ValueError("a target is planned for a spec that has one")
    on_guide, on_target = networks(spec.target, model, target, inputs)
    found = match_pairs(spec, on_guide, on_target)
    problems: list[Diagnostic] = []
    references = [_reference(match) for match in found.matches]
    layouts = attempt(problems, lambda: lay_out(spec.schedule, references))
    settings = None if layouts is None else attempt(problems, lambda: alignments(spec.schedule, len(layouts)))
    problems += _axes_problems(spec.schedule)
    problems += _order_problems(spec.schedule)
    if layouts is not None and settings is not None:
        problems += _settings_problems(found.matches, layouts, settings, model, target)
    recalibrate = [attempt(problems, lambda r=r: recalibration(r, target, (), ())) for r in spec.recalibrate]
    if problems or layouts is None or settings is None:
        raise Rejected(*merged(problems))
    of_guide = _Cut.of(on_guide, [match.guide for match in found.matches])
    of_target = _Cut.of(on_target, [match.target for match in found.matches])
    copied = _copied(layouts, settings)
    pairs = _pairs(found.matches, of_guide, of_target, copied)
    network = _target(spec.target, model, target, of_target, pairs)
    stages = _stages(spec, pairs, layouts, settings, of_guide, of_target)
    if unfit := tuple(metric_problems(stages, batch_size)):
        raise Rejected(*unfit)
    return Plan(
        spec=spec,
        assignments=assignments or {},
        inputs=tuple(inputs),
        batch_size=batch_size,
        trace=on_guide.trace,
        model_fingerprint=fingerprint(on_guide.trace, model),
        guide=guide,
        parts=(),
        target=network,
        pairs=pairs,
        stages=stages,
        recalibrate=tuple(step for step in recalibrate if step is not None),
        finetune=spec.finetune,
        totals=Totals(
            parameters_guide=sum(p.numel() for p in model.parameters()),
            parameters_target=sum(p.numel() for p in target.parameters()),
            flops_guide=sum(of_guide.flops.values()),
            flops_target=sum(of_target.flops.values()),
        ),
        notes=tuple(_notes(spec, found.left, pairs, network, of_target.regions)),
    )


def networks(
    sentence: Target, model: nn.Module, target: nn.Module, inputs: Sequence[InputSpec]
) -> tuple[Network, Network]:
    """Guide and target, traced on the same inputs.

    Raises:
        Rejected: THX302 and THX304 of both.
    """
    problems: list[Diagnostic] = []
    of_guide = attempt(problems, lambda: trace(model, inputs))
    failed = len(problems)
    of_target = attempt(problems, lambda: trace(target, inputs))
    problems[failed:] = [_of_target(problem, sentence) for problem in problems[failed:]]
    if of_guide is None or of_target is None:
        raise Rejected(*problems)
    return (
        Network(role="guide", model=model, trace=of_guide),
        Network(role="target", model=target, trace=of_target),
    )


def _of_target(problem: Diagnostic, sentence: Target) -> Diagnostic:
    return replace(
        problem,
        message=f"the target `{sentence.name}`, which takes the guide's inputs: {problem.message}",
        primary=problem.primary or Label(sentence.span),
    )


def _reference(match: Match) -> Reference:
    return Reference(name=match.name, path=match.target[-1].name, family=match.pair.name)


def _axes_problems(schedule: Schedule) -> Iterator[Diagnostic]:
    """A target is one network from the beginning: its blocks are neither introduced nor fed one by one."""
    axes = schedule.axes
    for name, value in (("feed", axes.feed), ("introduce", axes.introduce)):
        wrong = value == "guide" or (value == "upfront" and schedule.kind != "joint")
        if wrong:
            yield Diagnostic(
                code="THX532",
                message=f"a target is a network of its own, so there is no `{name} = {value}`",
                primary=Label(axes.spans.get(name, schedule.span)),
                help=("write `schedule progressive`, `sequential` or `joint`",),
            )


def _order_problems(schedule: Schedule) -> Iterator[Diagnostic]:
    if schedule.order.kind == "easiest":
        yield Diagnostic(
            code="THX532",
            message="a target is a network of its own, with no replacements to measure",
            primary=None if schedule.order.span is None else Label(schedule.order.span),
            help=("write `forward`, `reverse`, or a list: `[block[2], block[1]]`",),
        )


def _settings_problems(
    matches: Sequence[Match],
    layouts: Sequence[Layout],
    settings: Sequence[Alignment],
    model: nn.Module,
    target: nn.Module,
) -> Iterator[Diagnostic]:
    """Settings that a target of its own cannot have."""
    stages = zip(layouts, settings, strict=True)
    settled = {name: alignment for layout, alignment in stages for name in layout.newest}
    for match in matches:
        alignment = settled[match.name]
        if alignment.start is not None and alignment.start.kind == "copy":
            yield from _no_copy(match, alignment.start, model, target)
        elif alignment.start is not None:
            yield Diagnostic(
                code="THX532",
                message="a target begins as its `target` sentence builds it, or as a copy of guide blocks",
                primary=None if alignment.start.span is None else Label(alignment.start.span),
                help=(
                    "leave it out, or write `init = copy`; `weights = ...` in the `target` sentence names "
                    "other weights",
                ),
            )
        if alignment.metric.name == "mse" and match.guide[-1].shape != match.target[-1].shape:
            yield Diagnostic(
                code="THX531",
                message=f"`mse` cannot compare {match.guide[-1]} with {match.target[-1]}",
                primary=Label(alignment.metric.span),
                secondary=(Label(match.pair.span, f"`{match.name}`"),),
                help=("write `metric = cka`, which compares any two widths",),
            )


def _no_copy(match: Match, start: Start, model: nn.Module, target: nn.Module) -> Iterator[Diagnostic]:
    """Blocks of a window of the target whose tensors are not those of the guide's window, one by one."""
    for own, other in _block_pairs(match):
        theirs, ours = shapes(model.get_submodule(other)), shapes(target.get_submodule(own))
        if (problem := unlike(theirs, ours, own_name="the target's")) is not None:
            yield Diagnostic(
                code="THX508",
                message=f"`{own}` cannot start as a copy of `{other}`: {problem}",
                primary=None if start.span is None else Label(start.span, "asked for here"),
                secondary=(Label(match.pair.span, f"`{match.name}`"),),
                help=("leave `init` out: the target begins as its `target` sentence builds it",),
            )


def _block_pairs(match: Match) -> list[tuple[str, str]]:
    """Paths of the target's blocks, each with that of the guide's block in the same place of the window."""
    both = zip(match.target, match.guide, strict=False)  # the guide's window has more blocks, as a rule
    return [(own.path, other.path) for own, other in both]


def _copied(layouts: Sequence[Layout], settings: Sequence[Alignment]) -> frozenset[str]:
    """Names of the pairs whose target blocks begin as a copy of the guide's."""
    stages = zip(layouts, settings, strict=True)
    return frozenset(
        name
        for layout, alignment in stages
        if alignment.start is not None and alignment.start.kind == "copy"
        for name in layout.newest
    )


def _pairs(matches: Sequence[Match], guide: _Cut, target: _Cut, copied: frozenset[str]) -> tuple[Pair, ...]:
    return tuple(
        Pair(
            name=match.name,
            pair=match.pair.name,
            guide=guide.side(match.guide, of_guide),
            target=target.side(match.target, of_target),
            trains=of_target.parameters,
            copies=tuple(_block_pairs(match)) if match.name in copied else (),
        )
        for match, of_guide, of_target in zip(
            matches, guide.regions.of_taps, target.regions.of_taps, strict=True
        )
    )


def _target(
    sentence: Target, guide: nn.Module, model: nn.Module, cut: _Cut, pairs: Sequence[Pair]
) -> TargetNetwork:
    head = cut.regions.behind
    blocks = [block for pair in pairs for block in pair.target.blocks]
    copied = any(pair.copies for pair in pairs)
    return TargetNetwork(
        name=sentence.name,
        model=sentence.model.name,
        trace=cut.trace,
        fingerprint=fingerprint(cut.trace, model),
        head=_owners(head),
        head_parameters=head.size,
        copies=shared(shapes(guide), shapes(model), blocks) if copied else (),
    )


def _owners(region: Region) -> tuple[str, ...]:
    """The paths of the modules that hold the region's parameters."""
    return tuple(dict.fromkeys(name.rpartition(".")[0] for name in region.parameters))


def _stages(
    spec: Spec,
    pairs: Sequence[Pair],
    layouts: Sequence[Layout],
    settings: Sequence[Alignment],
    guide: _Cut,
    target: _Cut,
) -> tuple[Stage, ...]:
    """The stages of the schedule; pair t brings the target's parameters between the taps t - 1 and t."""
    if spec.target is None:
        raise ValueError("a target is planned for a spec that has one")
    reason = f"as `target {spec.target.name}` builds it"
    starts = {p.name: _start(p, reason) for p in pairs}
    made = make_stages(
        guide.trace, guide.flops, [_unit(p) for p in pairs], layouts, settings, starts, feed="target"
    )
    nodes = {pair.name: pair.target.node for pair in pairs}
    return tuple(
        replace(stage, target_share=target.share(_target_taps(stage, nodes, target.trace))) for stage in made
    )


def _start(pair: Pair, reason: str) -> PartStart:
    if not pair.copies:
        return PartStart(part=pair.name, start=Start(kind="given"), reason=reason)
    blocks = _listed([other for _, other in pair.copies])
    return PartStart(part=pair.name, start=Start(kind="copy"), reason=f"of {blocks}, as the spec says")


def _unit(pair: Pair) -> Unit:
    tap = Tap(part=pair.name, node=pair.guide.node, shape=pair.guide.shape)
    return Unit(name=pair.name, taps=(tap,), inputs=(), parameters=pair.target.parameters)


def _target_taps(stage: Stage, nodes: Mapping[str, str], traced: Trace) -> list[str]:
    return [traced.output if tap.part is None else nodes[tap.part] for tap in stage.taps]


def _notes(
    spec: Spec, left: Sequence[str], pairs: Sequence[Pair], target: TargetNetwork, cut: Regions
) -> Iterator[str]:
    if target.head:
        who = "fine-tuning trains" if spec.finetune else "without a `finetune` nothing trains"
        size = f"{target.head_parameters:,} parameters"
        yield f"no tap needs {_listed(target.head)} of the target: {who} its {size}"
    if cut.unused.size:
        yield (
            f"the target's output does not depend on {_listed(_owners(cut.unused))} "
            f"({cut.unused.size:,} parameters), which nothing trains"
        )
    if left:
        yield f"no window holds {_listed(left)} of the guide"
    if idle := [pair.name for pair in pairs if not pair.trains]:
        yield f"{_listed(idle)} brings no parameters that an earlier stage does not train"


def _listed(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"`{name}`" for name in names[:most]) + more
