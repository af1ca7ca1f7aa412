"""Units: what schedules introduce, order, group and train, whatever it is made of."""

from __future__ import annotations

from dataclasses import dataclass

from theseus_fx.match.matcher import Site
from theseus_fx.planning.plan import Part, Tap


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What orders and groups can say of a unit; known before it is built."""

    name: str
    """`conv[3]`."""
    path: str
    """A dotted module name."""
    family: str
    """The rule that it comes from."""

    def __str__(self) -> str:
        return f"{self.name} {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What a stage introduces and trains."""

    name: str
    """That of its `Reference`."""
    taps: tuple[Tap, ...]
    """Where guide and target are compared while it is trained."""
    inputs: tuple[str, ...]
    """The guide's nodes whose values flow in, where it is fed by the guide."""
    parameters: int
    """How many there are to train."""


def reference_of(site: Site) -> Reference:
    """A site, which becomes a replaced part, as orders and groups see it."""
    return Reference(name=site.name, path=site.path, family=site.rule.name)


def unit_of(part: Part) -> Unit:
    """A replaced part as a unit."""
    return Unit(
        name=part.name,
        taps=part.taps,
        inputs=(part.input_node,),
        parameters=part.parameters_after,
    )
