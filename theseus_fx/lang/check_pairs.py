"""Pairs: one side in the guide, one in the target, and windows that go together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypeVar, cast

from theseus_fx.lang import syntax, words
from theseus_fx.lang.check_rules import module_pattern
from theseus_fx.lang.check_values import WRONG, constant
from theseus_fx.lang.diagnostics import Label, did_you_mean
from theseus_fx.lang.findings import Findings, distinct, one_of, settings_by_name
from theseus_fx.lang.names import dotted
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import At, By, Each, Every, Pair, Schedule, Side, Split, Target, Windows

Network = Literal["guide", "target"]
Crossing = Literal["error", "allow", "cut"]
T = TypeVar("T")

_BRACES = re.compile(r"\{[A-Za-z_]\w*\}")
_EXAMPLES = {"guide": "guide Bottleneck every 2", "target": "target BasicBlock"}


def check_pair(
    found: Findings, node: syntax.Pair, guide: syntax.Guide | None, target: syntax.Target | None
) -> Pair | None:
    """A `pair` sentence; which blocks there are is for the planner."""
    names = {"guide": guide and guide.name.text, "target": target and target.name.text}
    for again in node.expect[1:]:
        found.repeated("a pair has one `expect`", again.span, node.expect[0].span)
    expect = node.expect[0] if node.expect else None
    if expect is not None and (not isinstance(expect.value, int) or expect.value < 1):
        found.note("THX208", "`expect` is a whole number of at least 1", expect.span)
    on_guide = _side(found, node, node.guides, "guide", names)
    on_target = _side(found, node, node.targets, "target", names)
    if on_guide is None or on_target is None:
        return None
    _check_windows(found, on_guide.windows, on_target.windows)
    return Pair(
        name=node.name.text,
        guide=on_guide,
        target=on_target,
        expect=None if expect is None else int(expect.value),
        expect_span=None if expect is None else expect.span,
        span=node.name.span,
    )


def check_kept_guide(found: Findings, schedule: Schedule | None, target: Target | None) -> None:
    """Notes THX220 where a gate keeps parts of the guide and the target is a network of its own."""
    if schedule is None or target is None:
        return
    of_stages = [gate for stage in schedule.stages for gate in stage.gates or ()]
    for gate in (*schedule.gates, *of_stages):
        if gate.span is not None:
            found.note(
                "THX220",
                "a network of its own has no place for the guide's part",
                gate.span,
                secondary=[Label(target.span, "is built whole, beside the guide")],
                help=["leave it out: a run stops where the stage does not pass"],
            )


def check_together(found: Findings, statements: Sequence[syntax.Statement]) -> None:
    """The sentences that a spec with a target has: pairs, and no rules."""
    targets, pairs = _all(statements, syntax.Target), _all(statements, syntax.Pair)
    guides, rules = _all(statements, syntax.Guide), _all(statements, syntax.Rule)
    distinct(found, [pair.name for pair in pairs], "pair")
    for target in targets:
        for guide in guides:
            if target.name.text == guide.name.text:
                shared = f"the guide and the target are both called `{guide.name.text}`"
                found.repeated(shared, target.name.span, guide.name.span)
    own = [*targets, *pairs]
    if rules and own:
        found.note(
            "THX225",
            "a spec has rules or pairs, not both",
            own[0].name.span,
            "a network of its own",
            secondary=[Label(rules[0].name.span, "replaces parts of the guide")],
            help=["write two specs"],
        )
    if pairs and not targets:
        example = "target small = torchvision.resnet18(weights = none)"
        found.note(
            "THX207",
            f"the spec has no `target`, and the pair `{pairs[0].name.text}` needs it",
            pairs[0].name.span,
            help=[f"write `{example}`"],
        )
    if targets and not pairs and not rules:
        found.note(
            "THX207",
            f"the spec has no `pair`, and the target `{targets[0].name.text}` needs it",
            targets[0].name.span,
            help=["write `pair block { guide Bottleneck every 2  target BasicBlock }`"],
        )


def _side(
    found: Findings,
    pair: syntax.Pair,
    nodes: Sequence[syntax.Side],
    network: Network,
    names: dict[str, str | None],
) -> Side | None:
    if not nodes:
        found.note(
            "THX207",
            f"pair `{pair.name.text}` has no `{network}`",
            pair.name.span,
            help=[f"write `{_EXAMPLES[network]}` in it"],
        )
        return None
    node = nodes[0]
    for again in nodes[1:]:
        found.repeated(f"a pair has one `{network}`", again.pattern.span, node.pattern.span)
    for word in node.network:
        _check_network(found, word, network, names)
    for again in node.network[1:]:
        found.repeated(f"the `{network}` of a pair is in one network", again.span, node.network[0].span)
    for glob in (*node.within, *node.keep):
        if not glob.pattern.strip():
            fix = 'name modules such as "layer1*", or leave it out'
            found.note("THX208", "this path pattern is empty", glob.span, help=[fix])
    pattern = module_pattern(found, node.pattern, _EXAMPLES[network])
    windows = _windows(found, node, network)
    if pattern is None or windows is None:
        return None
    return Side(pattern=pattern, within=node.within, keep=node.keep, windows=windows)


def _check_network(
    found: Findings, word: syntax.Word, network: Network, names: dict[str, str | None]
) -> None:
    wanted, other = names[network], names["target" if network == "guide" else "guide"]
    if word.text == wanted:
        return
    if word.text == other:
        is_what = "target" if network == "guide" else "guide"
        fix = [f"write `in {wanted}`, or leave it out"] if wanted else ["leave it out"]
        found.note("THX201", f"`{word.text}` is the {is_what}, not the {network}", word.span, help=fix)
        return
    known = [name for name in (wanted, other) if name is not None]
    found.note(
        "THX201",
        f"there is no network `{word.text}` here",
        word.span,
        help=did_you_mean(word.text, known, what="the networks"),
    )


def _windows(found: Findings, node: syntax.Side, network: Network) -> Windows | None:
    for again in node.windows[1:]:
        found.repeated(f"the `{network}` of a pair has one kind of window", again.span, node.windows[0].span)
    given = node.windows[0] if node.windows else None
    settings = settings_by_name(found, node.settings, words.SIDE_SETTINGS, f"the `{network}` of a pair")
    crossing = "error"
    if "crossing" in settings:
        setting = settings["crossing"]
        crossing = dotted(setting.value)
        if not isinstance(given, syntax.Every):
            found.note("THX226", "`crossing` belongs to `every N`", setting.span)
        if not one_of(found, crossing, setting.value.span, words.CROSSING, "way of crossing"):
            return None
    match given:
        case None:
            return Each(span=node.pattern.span)
        case syntax.Every(count=count, span=span):
            if not isinstance(count.value, int) or count.value < 1:
                found.note("THX208", "`every` takes a whole number of at least 1", count.span)
                return None
            return Every(count=count.value, crossing=cast("Crossing", crossing), span=span)
        case syntax.By(pattern=pattern, split=split, span=span):
            if _BRACES.search(pattern.value) is None:
                fix = ['write a name in braces where they differ, such as "layer{i}"']
                found.note("THX208", "this pattern tells no groups apart", pattern.span, help=fix)
                return None
            return Split(pattern=pattern, span=span) if split else By(pattern=pattern, span=span)
        case syntax.At(ends=ends, span=span):
            return _at(found, ends, span)


def _at(found: Findings, ends: syntax.ListOf, span: Span) -> At | None:
    values: list[str | int] = []
    for item in ends.items:
        value = constant(found, item)
        if value is WRONG:
            continue
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
            values.append(value)
            continue
        fix = ['write a path such as "layer1.0", or a number from 1']
        found.note("THX203", "`at` lists blocks", item.span, help=fix)
    if not ends.items:
        found.note("THX208", "this list of blocks is empty", ends.span)
    if len(values) < max(1, len(ends.items)):
        return None
    return At(ends=tuple(values), places=tuple(item.span for item in ends.items), span=span)


def _check_windows(found: Findings, guide: Windows, target: Windows) -> None:
    if isinstance(guide, Split) and not isinstance(target, Each | Split):
        found.note(
            "THX226",
            "the guide is split by the blocks of the target, which then has no windows of its own",
            target.span,
            secondary=[Label(guide.span, "as many windows as the target has blocks")],
            help=["leave it out, or write `split by` with the pattern of the target's groups"],
        )
    if isinstance(target, Split) and not isinstance(guide, Split):
        found.note(
            "THX226",
            "`split by` in the target says where its groups are, and the guide is not split",
            target.span,
            help=['write `split by "layer{i}"` in the guide'],
        )


def _all(statements: Sequence[syntax.Statement], kind: type[T]) -> list[T]:
    return [node for node in statements if isinstance(node, kind)]
