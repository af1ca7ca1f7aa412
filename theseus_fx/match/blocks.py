"""The blocks of a network that one side of a pair asks for, in the order in which they run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from theseus_fx.graph.trace import ModuleCall, Trace
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected, did_you_mean
from theseus_fx.lang.spec import Side
from theseus_fx.match.globs import unused
from theseus_fx.match.pattern import Miss, class_names, miss

_SHOWN_REASONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One of the two networks of a pair."""

    role: Literal["guide", "target"]
    model: nn.Module
    trace: Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One call of a block: something that can be compared."""

    name: str
    """`layer1.0`; `layers.0#2` for the second call of a module."""
    path: str
    node: str
    """The node of its output."""
    shape: tuple[int | str, ...]
    """Of its output; the first size is `"batch"`."""

    @property
    def parent(self) -> str:
        """The path of the module that holds it."""
        return self.path.rpartition(".")[0]

    def __str__(self) -> str:
        return f"`{self.name}` ({', '.join(map(str, self.shape))})"


def blocks_of(side: Side, network: Network) -> tuple[Block, ...]:
    """The blocks, at least one.

    Raises:
        Rejected: THX404 for a path pattern that fits nothing, THX421 where there are no blocks, THX426 for
            one whose output cannot be compared.
    """
    trace, problems = network.trace, list[Diagnostic]()
    paths = [path for path, _ in network.model.named_modules()]
    problems += unused((*side.within, *side.keep), paths, what=network.role)
    found: list[int] = []
    misses: list[Miss] = []
    for index, call in enumerate(trace.calls):
        if not call.path:
            continue
        missed = miss(side, call.path, network.model.get_submodule(call.path))
        if missed is None:
            found.append(index)
        else:
            misses.append(missed)
    if not found and not problems:
        problems.append(_none(side, network, misses))
    problems += _unfit(side, network, found)
    if problems:
        raise Rejected(*problems)
    return tuple(_block(trace.calls[index], trace) for index in found)


def _block(call: ModuleCall, trace: Trace) -> Block:
    if call.node is None:  # _unfit has reported it
        raise AssertionError(f"{call.name} has no single output")
    return Block(name=call.name, path=call.path, node=call.node, shape=trace.value(call.node).shape)


def _none(side: Side, network: Network, misses: Sequence[Miss]) -> Diagnostic:
    wanted, model = side.pattern.class_name, network.model
    return Diagnostic(
        code="THX421",
        message=f"the {network.role} has no such `{wanted}`",
        primary=Label(side.pattern.class_span),
        help=_nearest(wanted, network.role, model, misses),
    )


def _nearest(wanted: str, role: str, model: nn.Module, misses: Sequence[Miss]) -> tuple[str, ...]:
    """Where the modules of the class stopped, else near names of classes."""
    near = [missed for missed in misses if missed.step > 0]
    if near:
        counts = Counter(missed.reason for missed in near)
        first = {missed.reason: missed.path for missed in reversed(near)}
        return tuple(
            f"nearly: {count} x {wanted} {reason} (first: {first[reason]})"
            for reason, count in counts.most_common(_SHOWN_REASONS)
        )
    names = sorted({n for m in model.modules() for n in class_names(type(m)) if not n.startswith("_")})
    if wanted in names:
        return (f"the {role} has it, but never calls it, or only inside of what is one operation",)
    known = did_you_mean(wanted, names, what=f"classes of the {role}")
    return known or (f"classes of the {role}: {', '.join(f'`{name}`' for name in names)}",)


def _unfit(side: Side, network: Network, found: Sequence[int]) -> Iterator[Diagnostic]:
    """What cannot be compared: a block inside a block, and an output that is not one row for each sample."""
    trace, chosen = network.trace, set(found)
    for index in found:
        call = trace.calls[index]
        label = Label(side.pattern.span, f"matches `{call.name}`")
        around = _around(trace, index, chosen)
        if around is not None:
            yield Diagnostic(
                code="THX426",
                message=f"`{call.name}` is inside `{around.name}`, and both are blocks of the {network.role}",
                primary=label,
                help=("name the inner or the outer ones with attributes, `within` or `keep`",),
            )
        elif call.node is None:
            yield _untapped(call, label, "does not return one tensor that the network uses")
        elif (shape := trace.value(call.node).shape)[:1] != ("batch",):
            shown = ", ".join(map(str, shape))
            yield _untapped(
                call, label, f"returns ({shown}): the first size of what is compared is the batch"
            )


def _untapped(call: ModuleCall, label: Label, reason: str) -> Diagnostic:
    return Diagnostic(
        code="THX426",
        message=f"`{call.name}` {reason}",
        primary=label,
        help=(f'exclude it with `keep "{call.path}"`',),
    )


def _around(trace: Trace, index: int, chosen: set[int]) -> ModuleCall | None:
    parent = trace.calls[index].parent
    while parent is not None:
        if parent in chosen:
            return trace.calls[parent]
        parent = trace.calls[parent].parent
    return None
