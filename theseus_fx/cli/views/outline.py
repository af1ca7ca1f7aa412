"""The outline of a model for a person, made from its JSON: a tree on a terminal, indented lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from theseus_fx.cli.views.numbers import count, flops, shape


def outline_view(outline: Mapping[str, Any], *, rich: bool) -> Iterator[RenderableType]:
    """Headline, the tree, and the modules that could not be opened.

    Args:
        outline: the JSON of `theseus-fx trace`.
        rich: a tree with guides and colours; else lines that are indented by two spaces a level.
    """
    yield _headline(outline)
    if rich:
        yield _tree(outline["tree"])
    else:
        yield from _lines(outline["tree"], 0)
    for entry in outline["demoted"]:
        yield Text(
            f"one operation, not opened: {entry['path']} ({entry['class']}): {entry['reason']}",
            style="yellow",
        )


def _headline(outline: Mapping[str, Any]) -> Text:
    inputs = ", ".join(f"{i['name']} {shape(i['shape'])} {i['dtype']}" for i in outline["inputs"])
    facts = [
        outline["model"],
        f"input {inputs}",
        f"output {_value(outline['output'])} {outline['output']['dtype']}",
        f"parameters {count(outline['parameters'])}",
        f"FLOPs a sample {flops(outline['flops'])}",
    ]
    return Text(" · ".join(facts), style="bold")


def _tree(module: Mapping[str, Any]) -> Tree:
    tree = Tree(_module(module), guide_style="dim")
    for line in module["inside"]:
        if line["kind"] == "module":
            tree.add(_tree(line))
        else:
            tree.add(_operation(line))
    if module["left_out"]:
        tree.add(_left_out(module))
    return tree


def _lines(module: Mapping[str, Any], level: int) -> Iterator[Text]:
    yield _indented(_module(module), level)
    for line in module["inside"]:
        if line["kind"] == "module":
            yield from _lines(line, level + 1)
        else:
            yield _indented(_operation(line), level + 1)
    if module["left_out"]:
        yield _indented(_left_out(module), level + 1)


def _module(module: Mapping[str, Any]) -> Text:
    """`layer1.0.conv1  Conv2d  b x 64 x 56 x 56 -> b x 64 x 56 x 56  36.9 k`."""
    text = Text()
    if module["call"]:
        text.append(module["call"], style="bold").append("  ")
    text.append(module["class"], style="cyan")
    text.append(f"  {', '.join(map(_value, module['inputs'])) or '()'} -> {_value(module['output'])}", "dim")
    if module["parameters"]:
        text.append(f"  {count(module['parameters'])} parameters")
    if module["demoted"] is not None:
        text.append("  not opened", style="yellow")
    return text


def _operation(operation: Mapping[str, Any]) -> Text:
    """`add(bn2, layer1_0_downsample_1)  -> b x 64 x 56 x 56`."""
    text = Text(operation["name"], style="green")
    text.append(f"({', '.join(operation['inputs'])})", style="dim")
    return text.append(f"  -> {_value(operation['output'])}", style="dim")


def _left_out(module: Mapping[str, Any]) -> Text:
    many = "one more operation" if module["left_out"] == 1 else f"{module['left_out']} more operations"
    return Text(f"({many})" if module["inside"] else f"({many.replace(' more', '')} inside)", style="dim")


def _value(value: Mapping[str, Any] | None) -> str:
    return "several values" if value is None else shape(value["shape"])


def _indented(text: Text, level: int) -> Text:
    return Text("  " * level) + text
