"""Why a rule did not find what it should: what came nearest, and what the forward pass never reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from torch import nn

from theseus_fx.graph.trace import Trace
from theseus_fx.lang.diagnostics import Diagnostic, Label, did_you_mean
from theseus_fx.lang.library import how_to_match
from theseus_fx.lang.spec import Rule
from theseus_fx.match.pattern import Miss, class_names, miss

_SHOWN_PATHS = 6
_SHOWN_REASONS = 3


def count_problems(
    rule: Rule, found: Sequence[str], misses: Sequence[Miss], model: nn.Module, trace: Trace
) -> Iterator[Diagnostic]:
    """THX401 where a rule found nothing, THX402 where it found another number of parts than it expects.

    Args:
        rule: the rule.
        found: the paths that it matched, each once.
        misses: why other modules did not match.
        model: the guide.
        trace: its trace.
    """
    if not found:
        yield Diagnostic(
            code="THX401",
            message=f"rule `{rule.name}` matched nothing",
            primary=Label(rule.module.class_span),
            help=_nearest(rule, misses, model) + _unseen(rule, model, trace),
        )
    elif rule.expect is not None and len(found) != rule.expect:
        yield Diagnostic(
            code="THX402",
            message=f"rule `{rule.name}` expects {_parts(rule.expect)} and found {len(found)}",
            primary=Label(rule.expect_span or rule.span, f"found {len(found)}"),
            help=(
                f"found: {_listed(found)}",
                *_nearest(rule, misses, model),
                *_unseen(rule, model, trace),
                f"if that is right, write `expect {len(found)}`",
            ),
        )


def _nearest(rule: Rule, misses: Sequence[Miss], model: nn.Module) -> tuple[str, ...]:
    """What came nearest and where it stopped; near class names where no module has the class."""
    near = [m for m in misses if m.step > 0]
    if not near:
        return _known_classes(rule.module.class_name, model)
    counts = Counter(m.reason for m in near)
    first = {m.reason: m.path for m in reversed(near)}
    step = {m.reason: m.step for m in near}
    ranked = sorted(counts, key=lambda reason: (-step[reason], -counts[reason], reason))
    return tuple(
        f"nearly: {counts[reason]} x {rule.module.class_name} {reason} (first: {first[reason]})"
        for reason in ranked[:_SHOWN_REASONS]
    )


def _known_classes(wanted: str, model: nn.Module) -> tuple[str, ...]:
    """Near names of classes; nothing where a module of the guide has the class."""
    names = {n for m in model.modules() for n in class_names(type(m))}
    if wanted in names:
        return ()
    public = sorted(n for n in names if not n.startswith("_"))
    known = did_you_mean(wanted, public, what="classes of the guide")
    listed = (f"classes of the guide: {', '.join(f'`{name}`' for name in public)}",)
    return (*how_to_match(wanted), *(known or listed))


def _unseen(rule: Rule, model: nn.Module, trace: Trace) -> tuple[str, ...]:
    """Modules that fit but were not seen: inside of what is one operation, or never called."""
    called = {call.path for call in trace.calls}
    leaves = {call.path: call.demoted for call in trace.calls if call.leaf}
    idle = [p for p, m in model.named_modules() if p and p not in called and miss(rule, p, m) is None]
    inside = {p: leaf for p in idle for leaf in leaves if p.startswith(f"{leaf}.")}
    texts = [
        f"`{p}` is inside `{leaf}`, which is one operation"
        + (f" because {reason}" if (reason := leaves[leaf]) else "")
        for p, leaf in inside.items()
    ]
    outside = [p for p in idle if p not in inside]
    if outside:
        texts.append(f"never called in a forward pass: {_listed(outside)}")
    return tuple(texts[:_SHOWN_REASONS])


def _listed(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _SHOWN_PATHS} more" if len(paths) > _SHOWN_PATHS else ""
    return f"{', '.join(paths[:_SHOWN_PATHS])}{more}"


def _parts(count: int) -> str:
    return "1 part" if count == 1 else f"{count} parts"
