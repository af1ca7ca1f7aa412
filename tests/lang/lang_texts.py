"""Texts and generators that several tests of the language share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hypothesis import strategies as st

from theseus_fx.lang import loader, syntax
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.source import Source
from theseus_fx.lang.tokens import keywords

SPECS = Path(__file__).resolve().parents[2] / "specs"

TINY = """\
theseus 1
use "std/low_rank.thx"
param rank = 4
guide net = small_resnet(width = 2) trained by { lr = 3e-3  for = 3 steps }
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
rule conv {
  match Conv2d as c  in "layer3*"  where c.out.channels > 4  expect 3  keep "fc"
  replace with LowRankLinear(c, rank = rank)
}
schedule progressive {
  metric = cka
  init   = fit(samples = 256, metric = logits)
  lr     = 1e-3
  for    = 3 steps
  stage 2 { init = random }
}
recalibrate BatchNorm2d { over = 2 batches }
finetune {
  lr   = cosine(choose(none, 1e-3), warmup = 1 steps)
  loss = 0.5 * cross_entropy + 0.5 * distill(net, temperature = 2)
  for  = 4 steps
}
compare naive, random_start { lr = choose(1e-3, 3e-3) }
"""
"""A complete spec in which every kind of sentence occurs."""


def rejected(
    text: str,
    *,
    folder: Path | None = None,
    assignments: Mapping[str, str] | None = None,
    guide_required: bool = True,
) -> tuple[Diagnostic, ...]:
    """What `loads` finds wrong; none where it is right."""
    try:
        loader.loads(text, folder=folder, assignments=assignments, guide_required=guide_required)
    except Rejected as outcome:
        return outcome.diagnostics
    return ()


def changed(old: str, new: str) -> str:
    """The tiny spec with its first `old` replaced."""
    assert old in TINY
    return TINY.replace(old, new, 1)


def labels(diagnostic: Diagnostic) -> list[Label]:
    """Every label, the primary first."""
    primary = [] if diagnostic.primary is None else [diagnostic.primary]
    return [*primary, *diagnostic.secondary]


def in_bounds(diagnostics: tuple[Diagnostic, ...]) -> bool:
    """Whether every place is inside its text, and every diagnostic can be shown."""
    for diagnostic in diagnostics:
        assert diagnostic.primary is not None
        for label in labels(diagnostic):
            assert 0 <= label.span.start <= label.span.end <= len(label.span.source.text)
        shown = diagnostic.render()
        assert all(c.isprintable() or c == "\n" for c in shown), shown
        assert diagnostic.as_json()["primary"]["line"] >= 1
    return True


NOWHERE = Source("<made>", "").span(0, 0)
_words = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True).filter(
    lambda word: word not in keywords() and word not in ("and", "or", "not")
)
_numbers = st.integers(0, 10**12) | st.floats(0, 1e18, allow_nan=False)
_units = st.sampled_from(("epochs", "steps", "batches", "apples"))
_leaves = (
    st.builds(lambda text: syntax.Name(text, NOWHERE), _words)
    | st.builds(lambda value: syntax.Number(value, NOWHERE), _numbers)
    | st.builds(lambda value, unit: syntax.Quantity(value, unit, NOWHERE, NOWHERE), _numbers, _units)
    | st.builds(lambda value: syntax.Text(value, NOWHERE), st.text(max_size=8))
)


def _grown(inner: st.SearchStrategy[syntax.Expression]) -> st.SearchStrategy[syntax.Expression]:
    argument = st.builds(
        lambda name, value: syntax.Argument(name, value, NOWHERE, None), st.none() | _words, inner
    )
    operator = st.sampled_from(("or", "and", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "//", "%"))
    return (
        st.builds(lambda items: syntax.ListOf(tuple(items), NOWHERE), st.lists(inner, max_size=3))
        | st.builds(lambda value, name: syntax.Attribute(value, name, NOWHERE, NOWHERE), inner, _words)
        | st.builds(lambda value, index: syntax.Index(value, index, NOWHERE), inner, inner)
        | st.builds(
            lambda function, given: syntax.Call(function, tuple(given), NOWHERE),
            inner,
            st.lists(argument, max_size=3),
        )
        | st.builds(
            lambda sign, operand: syntax.Unary(sign, operand, NOWHERE), st.sampled_from(("-", "not")), inner
        )
        | st.builds(
            lambda sign, left, right: syntax.Binary(sign, left, right, NOWHERE, NOWHERE),
            operator,
            inner,
            inner,
        )
        | st.builds(
            lambda steps: syntax.Chain(tuple(steps), NOWHERE), st.lists(inner, min_size=2, max_size=3)
        )
    )


EXPRESSIONS: st.SearchStrategy[syntax.Expression] = st.recursive(_leaves, _grown, max_leaves=12)
"""Every kind of expression, nested."""


def bare(node: object) -> object:
    """A node without its places, to compare trees."""
    if isinstance(node, tuple):
        return tuple(bare(item) for item in node)
    fields = getattr(type(node), "__dataclass_fields__", None)
    if fields is None:
        return (type(node).__name__, node)
    return (
        type(node).__name__,
        *(
            bare(getattr(node, name))
            for name in fields
            if name not in ("source",) and not name.endswith(("span", "spans"))
        ),
    )
