"""Pairs of windows: the k-th of the guide with the k-th of the target."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import At, By, Each, Every, Pair, Side, Spec, Split, Windows
from theseus_fx.match.blocks import Block, Network, blocks_of
from theseus_fx.match.windows import Window, at, every, group_key, groups, split


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One window of the guide and what the target has in its place."""

    name: str
    """`block[3]`: the pair and the 1-based number within it."""
    pair: Pair
    guide: Window
    target: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """Everything that the pairs of a spec align."""

    matches: tuple[Match, ...]
    """In the order in which the target reaches its taps."""
    left: tuple[str, ...]
    """Names of the guide's blocks that are in no window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideFound:
    """What one side of a pair found in its network."""

    blocks: tuple[Block, ...] = ()
    windows: tuple[Window, ...] = ()

    @property
    def left(self) -> tuple[str, ...]:
        """The names of the blocks that are in no window."""
        taken = {block.name for window in self.windows for block in window}
        return tuple(block.name for block in self.blocks if block.name not in taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFound:
    """What one pair found, whether or not its two sides fit."""

    pair: Pair
    guide: SideFound
    target: SideFound

    def matches(self) -> Iterator[Match]:
        """The windows that have one on the other side."""
        windows = zip(self.guide.windows, self.target.windows, strict=False)
        for number, (of_guide, of_target) in enumerate(windows, 1):
            yield Match(name=f"{self.pair.name}[{number}]", pair=self.pair, guide=of_guide, target=of_target)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSurvey:
    """What the pairs of a spec find, whether or not it can be planned."""

    pairs: tuple[PairFound, ...]
    """In the order of the spec."""
    problems: tuple[Diagnostic, ...]
    """What forbids a plan."""


def match_pairs(spec: Spec, guide: Network, target: Network) -> Matches:
    """The windows of all pairs.

    Args:
        spec: the checked spec, with pairs.
        guide: the guide, traced with its blocks open or as leaves.
        target: the target likewise.

    Raises:
        Rejected: THX402, THX403, THX404, THX421 to THX426; every one that applies to any pair.
    """
    found = survey_pairs(spec, guide, target)
    if found.problems:
        raise Rejected(*found.problems)
    order = {name: position for position, name in enumerate(target.trace.nodes)}
    matches = [match for pair in found.pairs for match in pair.matches()]
    matches.sort(key=lambda match: order[match.target[-1].node])
    return Matches(
        matches=tuple(matches), left=tuple(name for pair in found.pairs for name in pair.guide.left)
    )


def survey_pairs(spec: Spec, guide: Network, target: Network) -> PairSurvey:
    """What every pair finds and all that is wrong with it; arguments as for `match_pairs`."""
    problems: list[Diagnostic] = []
    pairs = tuple(_survey(pair, guide, target, problems) for pair in spec.pairs)
    problems += _overlaps([match for pair in pairs for match in pair.matches()])
    return PairSurvey(pairs=pairs, problems=tuple(problems))


def _survey(pair: Pair, guide: Network, target: Network, problems: list[Diagnostic]) -> PairFound:
    """The blocks of both sides and, as far as they fit, their windows; what is wrong goes to `problems`."""
    guides, targets = _blocks(pair.guide, guide, problems), _blocks(pair.target, target, problems)
    windows: tuple[tuple[Window, ...], tuple[Window, ...]] = ((), ())
    if guides and targets:
        try:
            windows = _windows(pair, guides, targets)
        except Rejected as rejected:
            problems += rejected.diagnostics
        else:
            problems += _count_problems(pair, windows, guides, targets)
    return PairFound(
        pair=pair,
        guide=SideFound(blocks=guides, windows=windows[0]),
        target=SideFound(blocks=targets, windows=windows[1]),
    )


def _blocks(side: Side, network: Network, problems: list[Diagnostic]) -> tuple[Block, ...]:
    """The blocks of a side; none where something is wrong with it, which goes to `problems`."""
    try:
        return blocks_of(side, network)
    except Rejected as rejected:
        problems += rejected.diagnostics
        return ()


def _windows(
    pair: Pair, guides: Sequence[Block], targets: Sequence[Block]
) -> tuple[tuple[Window, ...], tuple[Window, ...]]:
    of_guide, of_target = pair.guide.windows, pair.target.windows
    if isinstance(of_guide, Split):
        pattern = of_target.pattern if isinstance(of_target, Split) else of_guide.pattern
        return _split(of_guide, guides, groups(targets, pattern)), tuple((block,) for block in targets)
    return (
        _own_windows(of_guide, guides, advice(guides, targets)),
        _own_windows(of_target, targets, ()),
    )


def _own_windows(windows: Windows, blocks: Sequence[Block], hints: Sequence[str]) -> tuple[Window, ...]:
    """Windows that the blocks of one network have by themselves."""
    match windows:
        case Each() | Split():
            return tuple((block,) for block in blocks)
        case Every():
            return every(blocks, windows, advice=hints)
        case By(pattern=pattern):
            return groups(blocks, pattern)
        case At():
            return at(blocks, windows)


def _split(windows: Split, guides: Sequence[Block], targets: Sequence[Window]) -> tuple[Window, ...]:
    """Each group of the guide as many windows as the target has blocks in its group of the same rank."""
    own = groups(guides, windows.pattern)
    if len(own) != len(targets):
        raise _rejected(
            "THX422",
            f"the guide has {_many(len(own), 'group')} of blocks and the target {len(targets)}",
            windows,
            'where the target\'s modules have other names, write `split by "..."` in its clause as well',
        )
    for of_guide, of_target in zip(own, targets, strict=True):
        if len(of_guide) < len(of_target):
            raise _rejected(
                "THX422",
                f"{_many(len(of_guide), 'block')} of the guide from `{of_guide[0].name}` on cannot be split "
                f"into {len(of_target)} windows, for the blocks of the target from `{of_target[0].name}` on",
                windows,
                "list the last block of each window on both sides: `at [...]`",
            )
    return tuple(
        window
        for of_guide, of_target in zip(own, targets, strict=True)
        for window in split(of_guide, len(of_target))
    )


def advice(guides: Sequence[Block], targets: Sequence[Block]) -> tuple[str, ...]:
    """What can be written in the guide's clause to get one window for each block of the target."""
    if len(guides) < len(targets):
        return (
            f"the target has more blocks: give it windows, such as `every {len(targets) // len(guides)}`",
        )
    hints: list[str] = []
    windows = split(guides, len(targets))
    pattern = _shared_pattern([*guides, *targets])
    if pattern is not None:
        own, other = _grouped(guides, pattern), _grouped(targets, pattern)
        if len(own) == len(other) and all(len(a) >= len(b) for a, b in zip(own, other, strict=True)):
            windows = [w for a, b in zip(own, other, strict=True) for w in split(a, len(b))]
            hints.append(
                f'`split by "{pattern}"` gives each group as many windows as the target has blocks there'
            )
    elif len(guides) % len(targets) == 0:
        hints.append(f"`every {len(guides) // len(targets)}` gives {_many(len(targets), 'window')}")
    ends = ", ".join(f'"{window[-1].name}"' for window in windows)
    return (*hints, f"or list the last block of each window: `at [{ends}]`")


def _shared_pattern(blocks: Sequence[Block]) -> str | None:
    """`layer{i}` where the modules around the blocks are layer1, layer2, ...; None where unlike."""
    parents = list(dict.fromkeys(block.parent for block in blocks))
    made = {re.sub(r"\d+(?!.*\d)", "{i}", parent) for parent in parents}
    if len(parents) < 2 or len(made) != 1:
        return None
    (pattern,) = made
    return pattern if "{i}" in pattern else None


def _grouped(blocks: Sequence[Block], pattern: str) -> list[list[Block]]:
    by_key: dict[tuple[str, ...] | None, list[Block]] = {}
    for block in blocks:
        by_key.setdefault(group_key(pattern, block.path), []).append(block)
    return list(by_key.values())


def _count_problems(
    pair: Pair,
    windows: tuple[Sequence[Window], Sequence[Window]],
    guides: Sequence[Block],
    targets: Sequence[Block],
) -> Iterator[Diagnostic]:
    count, wanted = len(windows[0]), len(windows[1])
    if count != wanted:
        said = f"{_many(count, 'window')} in the guide and {wanted} in the target"
        yield Diagnostic(
            code="THX422",
            message=f"pair `{pair.name}` has {said}",
            primary=Label(pair.guide.windows.span, f"{_many(count, 'window')} of {len(guides)} blocks"),
            secondary=(
                Label(pair.target.windows.span, f"{_many(wanted, 'window')} of {len(targets)} blocks"),
            ),
            help=advice(guides, targets),
        )
    elif pair.expect is not None and pair.expect != count:
        yield Diagnostic(
            code="THX402",
            message=f"pair `{pair.name}` expects {pair.expect} stages and has {count}",
            primary=Label(pair.expect_span or pair.span, f"has {count}"),
            help=(f"if that is right, write `expect {count}`",),
        )


def _overlaps(matches: Sequence[Match]) -> Iterator[Diagnostic]:
    first: dict[str, Match] = {}
    for match in matches:
        other = first.setdefault(match.target[-1].name, match)
        if other is not match:
            name, both = match.target[-1].name, f"`{other.pair.name}` and `{match.pair.name}`"
            yield Diagnostic(
                code="THX403",
                message=f"pairs {both} align `{name}` of the target",
                primary=Label(match.pair.target.pattern.span),
                secondary=(Label(other.pair.target.pattern.span, f"`{other.pair.name}` has it already"),),
                help=(f'leave it to one of them: `keep "{name}"` in the other',),
            )


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _rejected(code: str, message: str, windows: Windows, *helps: str) -> Rejected:
    return Rejected(Diagnostic(code=code, message=message, primary=Label(windows.span), help=helps))
