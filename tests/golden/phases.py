"""What every phase of the compiler makes of a spec, as text; and the one file format that holds it.

A golden file is a sequence of sections, `=== name` and then its lines. The first, `spec`, is the input; the
others are what the phases make of it, as far as they get: `tree`, `resolved`, `graph`, `matches`, `plan`, and
`diagnostics` where a phase rejects it.

A golden file is blessed by hand: `python tests/golden/phases.py tests/golden/residual.golden` writes what the
phases say now, and `git diff` shows what that changes.
"""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from rich.console import Console

from theseus_fx import api
from theseus_fx.cli.views.plan import plan_view
from theseus_fx.graph.trace import Trace
from theseus_fx.lang import loader, syntax
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.parser import parse
from theseus_fx.lang.printer import print_document
from theseus_fx.lang.source import Source, Span
from theseus_fx.planning.plan import Plan

WIDTH = 200


def sections(text: str) -> dict[str, str]:
    """The sections of a golden file."""
    found: dict[str, str] = {}
    for part in text.removeprefix("=== ").split("\n=== "):
        name, _, body = part.partition("\n")
        found[name.strip()] = body.strip("\n")
    return found


def golden(made: Mapping[str, str]) -> str:
    """A golden file of sections."""
    return "\n\n".join(f"=== {name}\n{body}" for name, body in made.items()) + "\n"


def phases(spec: str) -> dict[str, str]:
    """The sections that the phases make of a spec."""
    made = {"spec": spec}
    document, _ = parse(Source("spec.thx", f"{spec}\n"))
    made["tree"] = "\n".join(line for node in document.statements for line in _tree(node, 0))
    try:
        checked = loader.loads(f"{spec}\n", name="spec.thx")
        made["resolved"] = print_document(checked.document).rstrip()
        plan = api.plan(f"{spec}\n")
    except Rejected as rejected:
        made["diagnostics"] = "\n".join(diagnostic.render() for diagnostic in rejected.diagnostics).rstrip()
        return made
    made["graph"] = "\n".join(_graph(plan.trace))
    made["matches"] = "\n".join(_matches(plan))
    made["plan"] = _shown(plan)
    return made


def _tree(node: object, depth: int, label: str = "") -> Iterator[str]:
    """A node of the syntax tree and what is in it, without places."""
    indent = "  " * depth
    if isinstance(node, tuple):
        for item in node:
            yield from _tree(item, depth, label)
    elif dataclasses.is_dataclass(node):
        if isinstance(node, syntax.Word | syntax.Name | syntax.Number | syntax.Text | syntax.Quantity):
            yield f"{indent}{label}{type(node).__name__} {node.span.text}"
            return
        yield f"{indent}{label}{type(node).__name__}"
        for field in dataclasses.fields(node):
            value = getattr(node, field.name)
            if not isinstance(value, Span) and value not in (None, (), ""):
                yield from _tree(value, depth + 1, f"{field.name}: ")
    else:
        yield f"{indent}{label}{node}"


def _graph(trace: Trace) -> Iterator[str]:
    for name, node in trace.nodes.items():
        inputs = ", ".join(source.name for source in node.all_input_nodes)
        target = (
            node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.target)
        )
        value = trace.values.get(name)
        shown = "" if value is None else f": {' x '.join(map(str, value.shape))} {_dtype(value.dtype)}"
        yield f"{name} = {node.op} {target}({inputs}){shown}"


def _matches(plan: Plan) -> Iterator[str]:
    for part in plan.parts:
        inputs = ", ".join(entry.node for entry in part.inputs)
        yield f"{part.name} {part.path}: {part.guide_module}: {inputs} -> {part.node}"
        yield f"  {part.recipe}"
    for pair in plan.pairs:
        yield f"{pair.name}: {', '.join(pair.guide.blocks)} ~ {', '.join(pair.target.blocks)}"


def _shown(plan: Plan) -> str:
    out = io.StringIO()
    console = Console(file=out, width=WIDTH, color_system=None, highlight=False)
    for part in plan_view(plan.as_json()):
        console.print(part)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        path = Path(argument)
        path.write_text(golden(phases(sections(path.read_text(encoding="utf-8"))["spec"])), encoding="utf-8")
