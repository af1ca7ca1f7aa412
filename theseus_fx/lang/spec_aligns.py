"""What a checked rule says of its taps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from theseus_fx.lang.source import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Align:
    """One value of a rule's parts that is compared with one of their replacements."""

    kind: Literal["output", "bound", "module"]
    """What the guide's value is: what the part returns, a value that the pattern binds, or what a module
    inside of the part returns."""
    value: str
    """`out`, the bound name, or the module's path from the part on: `attention.output`."""
    target: str | None
    """The value of the replacement by name; None: what it returns."""
    weight: float = 1.0
    """Of this tap in the mean over the taps of a stage."""
    span: Span
    value_span: Span

    @property
    def extra(self) -> bool:
        """Whether it is a tap besides the output of the part and of its replacement."""
        return self.kind != "output" or self.target is not None

    def __str__(self) -> str:
        return self.value if self.target is None else f"{self.value} ~ {self.target}"
