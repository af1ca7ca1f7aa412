"""The search against brute force: every assignment of steps to nodes, judged by the definitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations, product

import networkx
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import fx, nn

from theseus_fx.graph.trace import Trace
from theseus_fx.graph.values import InputSpec, ValueInfo
from theseus_fx.lang.operations import (
    Bound,
    Either,
    Function,
    Input,
    OperationPattern,
    Pattern,
    Step,
    steps,
)
from theseus_fx.match.ops.backtrack import Search
from theseus_fx.match.ops.find import find
from theseus_fx.match.ops.index import make_index
from theseus_fx.match.ops.names import COMMUTATIVE, function_name
from theseus_fx.match.ops.regions import validate

UNARY = (torch.relu, torch.tanh)
BINARY = (torch.add, torch.sub)
NAMES = {"relu": 1, "tanh": 1, "add": 2, "sub": 2}


def traced(operations: Sequence[tuple[int, int, int]]) -> Trace:
    """A graph of functions: for each (which, first operand, second operand), counted among what there is."""
    graph = fx.Graph()
    nodes = [graph.placeholder("a"), graph.placeholder("b")]
    for which, first, second in operations:
        function = (*UNARY, *BINARY)[which % 4]
        operands = [nodes[first % len(nodes)], nodes[second % len(nodes)]][: 1 if function in UNARY else 2]
        nodes.append(graph.call_function(function, tuple(operands)))
    sinks = [node for node in nodes[2:] if not node.users] or nodes[-1:]
    graph.output(tuple(sinks))
    value = ValueInfo(shape=("batch", 4), dtype=torch.float32)
    return Trace(
        graph=graph,
        calls=(),
        inputs=tuple(InputSpec(name=n, dtype=torch.float32, shape=("batch", 4)) for n in "ab"),
        output=sinks[0].name,
        outputs=tuple(node.name for node in sinks),
        values={node.name: value for node in nodes},
        nodes={node.name: node for node in graph.nodes},
        owners={},
    )


@st.composite
def written(draw: st.DrawFn) -> OperationPattern:
    """A pattern with up to five steps: values are made one after another from those before."""
    values: list[Pattern] = [Input("x"), Input("y")]
    for number in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from([*NAMES, "either", "bound"]))
        picks = [values[draw(st.integers(0, len(values) - 1))] for _ in range(2)]
        if kind == "either":
            values.append(Either(tuple(picks)))
        elif kind == "bound":
            values.append(Bound(f"b{number}", picks[0]))
        else:
            values.append(Step(Function(kind), tuple(picks[: NAMES[kind]])))
    name = draw(st.sampled_from([*NAMES]))
    last = Step(Function(name), (values[-1], values[draw(st.integers(0, len(values) - 1))])[: NAMES[name]])
    return OperationPattern(name="p", inputs=("x", "y"), result=last)


# --- brute force ----------------------------------------------------------------------------------------

Unrolled = tuple[str, object]
"""A pattern without choices: ("input", name), ("bound", (name, tree)) or ("step", (path, name, trees))."""


def unrolled(pattern: Pattern, path: tuple[int, ...] = ()) -> Iterator[Unrolled]:
    match pattern:
        case Input(name=name):
            yield ("input", name)
        case Bound(name=name, value=value):
            for tree in unrolled(value, (*path, 0)):
                yield ("bound", (name, tree))
        case Either(options=options):
            for number, option in enumerate(options):
                yield from unrolled(option, (*path, number))
        case Step(operation=Function(name=name), operands=operands):
            parts = [list(unrolled(o, (*path, n))) for n, o in enumerate(operands)]
            for chosen in product(*parts):
                yield ("step", (path, name, chosen))
        case _:
            raise AssertionError(pattern)


def assignments(tree: Unrolled, node: fx.Node) -> Iterator[tuple[dict[str, fx.Node], list[fx.Node]]]:
    """The names and the nodes of steps, not yet compared with those of other places."""
    kind, inside = tree
    if kind == "input":
        yield {str(inside): node}, []
    elif kind == "bound":
        name, value = inside  # type: ignore[misc]
        for names, taken in assignments(value, node):
            if names.get(f"={name}", node) is node:
                yield {**names, f"={name}": node}, taken
    else:
        _, name, operands = inside  # type: ignore[misc]
        if function_name(node) != name:
            return
        for order in permutations(node.args) if name in COMMUTATIVE else [node.args]:
            for parts in product(*(list(assignments(o, v)) for o, v in zip(operands, order, strict=True))):
                names: dict[str, fx.Node] = {}
                if all(names.setdefault(k, v) is v for part, _ in parts for k, v in part.items()):
                    yield names, [node, *(n for _, nodes in parts for n in nodes)]


def by_brute_force(trace: Trace, pattern: OperationPattern, anchor: fx.Node) -> set[frozenset[str]]:
    graph = networkx.DiGraph()
    for node in trace.nodes.values():
        graph.add_edges_from((source.name, node.name) for source in node.all_input_nodes)
    found: set[frozenset[str]] = set()
    for tree in unrolled(pattern.result):
        for names, nodes in assignments(tree, anchor):
            if len(set(nodes)) < len(nodes) or "x" not in names:
                continue
            inside = {node.name for node in nodes}
            inputs = {names[n].name for n in "xy" if n in names}
            leaving = {n for n in inside if any(user not in inside for user in graph.successors(n))}
            entering = {p for n in inside for p in graph.predecessors(n)} - inside - inputs
            below = networkx.descendants(graph, names["x"].name)
            if leaving <= {anchor.name} and inputs.isdisjoint(inside) and entering.isdisjoint(below):
                found.add(frozenset(inside))
    return found


def without_shared_bounds(pattern: OperationPattern) -> bool:
    """Whether brute force, which matches a bound value anew at every use, judges the pattern the same."""
    uses: list[int] = []
    pending: list[Pattern] = [pattern.result]
    while pending:
        match pending.pop():
            case Bound() as bound:
                uses.append(id(bound))
                pending.append(bound.value)
            case Either(options=parts) | Step(operands=parts):
                pending += parts
            case _:
                pass
    return len(uses) == len(set(uses))


graphs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=7)


@settings(max_examples=400, deadline=None)
@given(graphs, written().filter(without_shared_bounds))
def test_every_region_is_found_and_no_other(
    operations: list[tuple[int, int, int]], p: OperationPattern
) -> None:
    trace = traced(operations)
    index = make_index(trace, nn.Module())
    search = Search(index, p)
    for node in trace.nodes.values():
        if node.op == "call_function":
            assert {frozenset(r.nodes) for r in search.solutions(node)} == by_brute_force(trace, p, node)


@settings(max_examples=300, deadline=None)
@given(graphs, written())
def test_matches_do_not_overlap_are_sound_and_leave_none_out(
    operations: list[tuple[int, int, int]], p: OperationPattern
) -> None:
    trace = traced(operations)
    index = make_index(trace, nn.Module())
    found = find(index, p)
    claimed = [name for region in found.regions for name in region.nodes]
    assert len(set(claimed)) == len(claimed)
    assert not [said for said in validate(trace, found.regions) if "is not computed from" not in said]
    assert found == find(index, p)
    search = Search(index, p)
    for node in trace.nodes.values():
        if node.op == "call_function":
            free = [r for r in search.solutions(node) if set(claimed).isdisjoint(r.nodes)]
            assert free == []


@settings(max_examples=100, deadline=None)
@given(graphs, st.integers(1, 4))
def test_a_bound_value_is_one_value(operations: list[tuple[int, int, int]], which: int) -> None:
    shared = Bound("s", Step(Function([*NAMES][which % 2]), (Input("x"),)))
    p = OperationPattern(name="p", inputs=("x",), result=Step(Function("sub"), (shared, shared)))
    index = make_index(traced(operations), nn.Module())
    for region in find(index, p).regions:
        first, second = index.trace.node(region.output).args
        assert first is second
        assert len(region.nodes) == 2
    assert len(list(steps(p.result))) == 2


@settings(max_examples=200, deadline=None)
@given(graphs, st.integers(1, 3), st.lists(st.booleans(), min_size=8, max_size=8))
def test_a_pattern_taken_from_the_graph_is_found_in_it(
    operations: list[tuple[int, int, int]], depth: int, swaps: list[bool]
) -> None:
    trace = traced(operations)
    index = make_index(trace, nn.Module())
    inputs: dict[str, Input] = {}
    turns = iter([*swaps, *[False] * 20])

    def taken(node: fx.Node, left: int) -> Pattern:
        name = function_name(node)
        if left == 0 or name is None:
            return inputs.setdefault(node.name, Input("xyzuvw"[len(inputs)]))
        operands = [taken(operand, left - 1) for operand in node.args if isinstance(operand, fx.Node)]
        swapped = name in COMMUTATIVE and next(turns)
        return Step(Function(name), tuple(reversed(operands) if swapped else operands))

    anchor = trace.nodes[trace.output]
    try:
        result = taken(anchor, depth)
    except IndexError:  # more inputs than names
        return
    if not isinstance(result, Step) or len(inputs) > 2:
        return
    p = OperationPattern(name="p", inputs=("x", "y"), result=result)
    expected = by_brute_force(trace, p, anchor)
    assert {frozenset(r.nodes) for r in Search(index, p).solutions(anchor)} == expected
