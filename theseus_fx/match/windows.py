"""Windows: consecutive blocks taken together. The last block of a window is where it is compared."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate, groupby, pairwise

from theseus_fx.lang import syntax
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected, did_you_mean
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import At, Every
from theseus_fx.match.blocks import Block

Window = tuple[Block, ...]
"""At least one block, in the order in which they run."""
_BRACES = re.compile(r"\{([A-Za-z_]\w*)\}|(\*)|(\?)")


def every(blocks: Sequence[Block], windows: Every, *, advice: Sequence[str] = ()) -> tuple[Window, ...]:
    """Windows of `count` blocks; with `crossing = cut` shorter ones at a boundary and at the end.

    A boundary is where the shape of the output changes or another module holds the blocks.

    Args:
        blocks: all of them.
        windows: the clause.
        advice: what else could be written.

    Raises:
        Rejected: THX423 where a window would cross a boundary unasked, THX422 where blocks are left over.
    """
    count = windows.count
    if windows.crossing == "cut":
        return tuple(w for run in _runs(blocks) for w in _chunks(run, count))
    made = _chunks(blocks, count)
    crossed = [pair for window in made for pair in pairwise(window) if _is_boundary(*pair)]
    if crossed and windows.crossing == "error":
        before, behind = crossed[0]
        more = f" ({len(crossed) - 1} more like it)" if len(crossed) > 1 else ""
        raise _rejected(
            "THX423",
            f"a window of {count} goes from {before} to {behind}{more}",
            windows.span,
            *advice,
            f"`every {count} crossing = cut` ends windows early there, `crossing = allow` goes on",
        )
    if left := len(blocks) % count:
        raise _rejected(
            "THX422",
            f"{len(blocks)} blocks are no whole number of windows of {count}: {left} left over",
            windows.span,
            *advice,
            f"`every {count} crossing = cut` lets windows at a boundary and at the end be shorter",
        )
    return made


def at(blocks: Sequence[Block], windows: At) -> tuple[Window, ...]:
    """Windows that end at the listed blocks; blocks behind the last of them are in none.

    Raises:
        Rejected: THX425 for what is no block, and for ends out of order.
    """
    places = {block.path: number for number, block in enumerate(blocks, 1)}
    places |= {block.name: number for number, block in enumerate(blocks, 1)}
    numbers: list[int] = []
    problems: list[Diagnostic] = []
    for end, span in zip(windows.ends, windows.places, strict=True):
        number = places.get(end) if isinstance(end, str) else end
        if number is None or number > len(blocks):
            problems += _no_block(end, span, blocks).diagnostics
        elif numbers and number <= numbers[-1]:
            said = f"`{blocks[number - 1].name}` does not come after `{blocks[numbers[-1] - 1].name}`"
            fix = "list each end once, in the order in which the blocks run"
            problems += _rejected("THX425", said, span, fix).diagnostics
        else:
            numbers.append(number)
    if problems:
        raise Rejected(*problems)
    return tuple(tuple(blocks[first:last]) for first, last in pairwise([0, *numbers]))


def groups(blocks: Sequence[Block], pattern: syntax.Text) -> tuple[Window, ...]:
    """The blocks of each value of the braces of a pattern, in order.

    Raises:
        Rejected: THX424 for blocks that the pattern does not fit, and for a group with others in between.
    """
    keys = [group_key(pattern.value, block.path) for block in blocks]
    if outside := [block.name for block, key in zip(blocks, keys, strict=True) if key is None]:
        some = ", ".join(outside[:3]) + (f" and {len(outside) - 3} more" if len(outside) > 3 else "")
        fix = "choose the blocks with `within` or `keep`, or write another pattern"
        raise _rejected("THX424", f'"{pattern.value}" does not fit {some}', pattern.span, fix)
    made = [
        (key, tuple(block for _, block in run))
        for key, run in groupby(zip(keys, blocks, strict=True), key=lambda item: item[0])
    ]
    seen: dict[tuple[str, ...] | None, Window] = {}
    for key, group in made:
        if key in seen:
            said = f"`{seen[key][-1].name}` and `{group[0].name}` are of one group, with others in between"
            fix = "list the last block of each window: `at [...]`"
            raise _rejected("THX424", said, pattern.span, fix)
        seen[key] = group
    return tuple(group for _, group in made)


def group_key(pattern: str, path: str) -> tuple[str, ...] | None:
    """The texts that the braces of a pattern stand for in a path or the module around it; None: no fit.

    >>> group_key("layer{i}", "layer3.0")
    ('3',)
    """
    expression = _expression(pattern)
    pieces = path.split(".")
    for length in range(1, len(pieces) + 1):
        if (fit := expression.fullmatch(".".join(pieces[:length]))) is not None:
            return tuple(fit.groupdict().values())
    return None


def split(blocks: Sequence[Block], count: int) -> tuple[Window, ...]:
    """`count` windows as equal as possible, the earlier ones longer; there are as many blocks at least."""
    size, longer = divmod(len(blocks), count)
    ends = accumulate(size + (number < longer) for number in range(count))
    return tuple(tuple(blocks[first:last]) for first, last in pairwise([0, *ends]))


def _chunks(blocks: Sequence[Block], count: int) -> tuple[Window, ...]:
    return tuple(tuple(blocks[first : first + count]) for first in range(0, len(blocks), count))


def _runs(blocks: Sequence[Block]) -> list[list[Block]]:
    """The blocks between boundaries."""
    runs: list[list[Block]] = []
    for block in blocks:
        if runs and not _is_boundary(runs[-1][-1], block):
            runs[-1].append(block)
        else:
            runs.append([block])
    return runs


def _is_boundary(before: Block, behind: Block) -> bool:
    return before.parent != behind.parent or before.shape != behind.shape


def _expression(pattern: str) -> re.Pattern[str]:
    out, end, named = "", 0, set[str]()
    for found in _BRACES.finditer(pattern):
        name = found[1]
        out += re.escape(pattern[end : found.start()])
        if name in named:
            out += f"(?P={name})"
        elif name:
            out += f"(?P<{name}>[^.]+)"
            named.add(name)
        else:
            out += ".*" if found[2] else "."
        end = found.end()
    return re.compile(out + re.escape(pattern[end:]))


def _no_block(end: str | int, span: Span, blocks: Sequence[Block]) -> Rejected:
    if isinstance(end, int):
        return _rejected("THX425", f"there are {len(blocks)} blocks, there is no number {end}", span)
    near = did_you_mean(end, [block.name for block in blocks], what="blocks")
    return _rejected("THX425", f"`{end}` is none of the {len(blocks)} blocks", span, *near)


def _rejected(code: str, message: str, span: Span, *helps: str) -> Rejected:
    return Rejected(Diagnostic(code=code, message=message, primary=Label(span), help=helps))
