"""What a check has found so far, and the two questions that every check asks of a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from theseus_fx.lang import syntax
from theseus_fx.lang.diagnostics import Diagnostic, Label, did_you_mean
from theseus_fx.lang.source import Source, Span
from theseus_fx.lang.spec import Value


@dataclass(slots=True)
class Findings:
    """What a check knows and what it has found wrong so far."""

    params: Mapping[str, Value] = field(default_factory=dict[str, Value])
    broken: frozenset[str] = frozenset()
    """Params whose own value is wrong: what reads them is not blamed once more."""
    code: Mapping[str, Source] = field(default_factory=dict[str, Source])
    """The Python files that the spec names, by their path as written."""
    task_loss: Literal["task", "cross_entropy"] = "cross_entropy"
    """What training minimises where a block says nothing of it: `task` for a task of a person's own."""
    problems: list[Diagnostic] = field(default_factory=list[Diagnostic])

    def note(
        self,
        code: str,
        message: str,
        span: Span,
        label: str = "",
        *,
        help: Sequence[str] = (),  # noqa: A002 - the field it fills
        secondary: Sequence[Label] = (),
    ) -> None:
        """Adds an error with its place."""
        self.problems.append(
            Diagnostic(
                code=code,
                message=message,
                primary=Label(span, label),
                secondary=tuple(secondary),
                help=tuple(help),
            )
        )

    def repeated(self, message: str, again: Span, first: Span) -> None:
        """Adds THX206 with both places."""
        self.note("THX206", message, again, "again here", secondary=[Label(first, "first here")])


def settings_by_name(
    found: Findings, settings: Sequence[syntax.Setting], known: Sequence[str], where: str
) -> dict[str, syntax.Setting]:
    """The settings of a block; unknown ones and repetitions are noted."""
    by_name: dict[str, syntax.Setting] = {}
    for setting in settings:
        name = setting.name.text
        if name not in known:
            found.note(
                "THX202",
                f"{where} has no setting `{name}`",
                setting.name.span,
                help=did_you_mean(name, known, what="its settings")
                or [f"its settings: {', '.join(f'`{word}`' for word in known)}"],
            )
        elif name in by_name:
            found.repeated(f"`{name}` is set twice", setting.name.span, by_name[name].name.span)
        else:
            by_name[name] = setting
    return by_name


def one_of(found: Findings, word: str, span: Span, known: Sequence[str], what: str) -> bool:
    """Whether the word is known; notes THX209 with near words if not."""
    if word in known:
        return True
    found.note(
        "THX209", f"there is no {what} `{word}`", span, help=did_you_mean(word, known, what="known here")
    )
    return False


def distinct(found: Findings, names: Sequence[syntax.Word], what: str) -> None:
    """Notes THX206 for each name that was given before."""
    first: dict[str, syntax.Word] = {}
    for name in names:
        if name.text in first:
            found.repeated(f"there are two {what}s `{name.text}`", name.span, first[name.text].span)
        first.setdefault(name.text, name)
