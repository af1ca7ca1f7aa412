"""`theseus-fx explain functions` lists every function with its settings."""

from __future__ import annotations

import inspect
import re

from theseus_fx.lang.check_values import shown
from theseus_fx.lang.manual import topic
from theseus_fx.modules.functions import FUNCTIONS, OPERATIONS

HIDDEN = {"inplace", "left", "right", "args", "kwargs"}
"""Parameters that a spec has no use for."""


def written(name: str) -> str:
    """A function as the page has it: `concat(a, b, ..., dim = 1)`."""
    flows: list[str] = []
    if name in OPERATIONS:
        parameters = inspect.signature(OPERATIONS[name]).parameters.values()
        fixed = [p for p in parameters if p.kind is p.POSITIONAL_ONLY]
        several = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        if several or len(fixed) > 1:
            flows = ["a", "b"]
        if several and "dim" in inspect.signature(OPERATIONS[name]).parameters:
            flows.append("...")
    settings = [
        p.name if p.default is p.empty else f"{p.name} = {default(p.default)}"
        for p in inspect.signature(FUNCTIONS[name]).parameters.values()
        if p.name not in HIDDEN
    ]
    arguments = ", ".join([*flows, *settings])
    return f"{name}({arguments})" if arguments else name


def default(value: object) -> str:
    """A default as a spec writes it; torch's `softmax(dim=None)` guesses, and a spec says which."""
    return f"{value:g}" if isinstance(value, float) else shown(value)


def test_the_page_lists_every_function() -> None:
    rows = re.findall(r"^\| (`.*`) \| .* \|$", topic("functions"), flags=re.MULTILINE)
    listed = [cell for row in rows for cell in re.findall(r"`([^`]+)`", row)]
    expected = {written(name) for name in FUNCTIONS if name != "item"}  # an index is one: `RNN(64)[0]`
    expected -= {"softmax(dim = none)", "log_softmax(dim = none)"}
    assert sorted(listed) == sorted(expected | {"softmax(dim)", "log_softmax(dim)"})
