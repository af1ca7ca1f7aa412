"""From text to syntax tree. Never raises: whatever is wrong becomes a diagnostic, and reading goes on.

A misspelt keyword is taken for the keyword it is close to (THX102). After anything else (THX101, THX104)
reading starts again at the next sentence at the beginning of a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from lark import Token, Tree
from lark.exceptions import UnexpectedToken
from lark.parsers.lalr_interactive_parser import InteractiveParser

from theseus_fx.lang.diagnostics import Diagnostic, Label, near_names
from theseus_fx.lang.names import shortened
from theseus_fx.lang.source import Source, Span
from theseus_fx.lang.syntax import Document, Expression, Statement, Version
from theseus_fx.lang.tokens import grammar, keywords, place, replaced, tokens_of
from theseus_fx.lang.tree_builder import MOST_NESTED, statements, too_deep, value, version
from theseus_fx.lang.words import TOP_SETTINGS

SENTENCES = (
    "use", "param", "guide", "input", "module", "rule", "schedule", "recalibrate", "finetune", "compare",
    "target", "pair", "pattern",
)  # fmt: skip
"""Words that begin a sentence at the top level."""

_CLOSING = {"LBRACE": "RBRACE", "LPAR": "RPAR", "LSQB": "RSQB"}
_MARKS = {
    "LBRACE": "`{`", "RBRACE": "`}`", "LPAR": "`(`", "RPAR": "`)`", "LSQB": "`[`", "RSQB": "`]`",
    "EQUAL": "`=`", "COMMA": "`,`", "COLON": "`:`", "__ANON_0": "`..`", "__ANON_1": "`|>`",
    "SETTING": "a setting such as `lr = 1e-3`", "NAME": "a name", "NUMBER": "a number",
    "STRING": 'a text in quotes', "TILDE": "`~`", "$END": "the end",
}  # fmt: skip
_OPERATORS = {"OR", "AND", "COMPARE", "PLUS", "MINUS", "TIMES", "DIVIDE", "MODULO", "ATTRIBUTE"}


def parse(source: Source) -> tuple[Document, tuple[Diagnostic, ...]]:
    """The document of a text, and what is wrong with it.

    With diagnostics, the document holds the sentences from which on all could be read; without, all of them.
    """
    reading = _Reading(source, "start")
    found: list[Statement] = []
    number: Version | None = None
    for tree in reading.trees():
        number = number or version(source, tree)
        found += statements(source, tree)
    return Document(source, number, tuple(found)), reading.sorted_problems()


def parse_value(source: Source) -> tuple[Expression | None, tuple[Diagnostic, ...]]:
    """The one expression that a text is, or None and what is wrong with it."""
    reading = _Reading(source, "value")
    trees = reading.trees()
    if reading.problems:
        return None, reading.sorted_problems()
    return value(source, trees[0]), ()


@dataclass(slots=True)
class _Reading:
    """One text being read."""

    source: Source
    start: Literal["start", "value"]
    problems: list[Diagnostic] = field(default_factory=list[Diagnostic])

    def trees(self) -> list[Tree[Token]]:
        """The trees of what can be read between the mistakes, which are noted."""
        tokens, self.problems = tokens_of(self.source)
        trees: list[Tree[Token]] = []
        while tokens or (self.start == "value" and not trees and not self.problems):
            tree, tokens = self.some(tokens)
            if tree is None:
                continue
            deep = too_deep(self.source, tree)
            if deep is None:
                trees.append(tree)
            else:
                self.note("THX101", f"this is nested more than {MOST_NESTED} deep", deep)
        return trees

    def sorted_problems(self) -> tuple[Diagnostic, ...]:
        """What is wrong, in the order in which it stands."""
        return tuple(sorted(self.problems, key=lambda d: d.primary.span.start if d.primary else 0))

    def some(self, tokens: Sequence[Token]) -> tuple[Tree[Token] | None, list[Token]]:
        """The tree of the tokens, or None and the tokens from the next sentence on after a mistake."""
        parser = grammar().parse_interactive("", start=self.start)
        queue = list(tokens)
        for i, token in enumerate(queue):
            try:
                parser.feed_token(token)
            except UnexpectedToken:
                if token.type == "QUANTITY" and "NUMBER" in parser.accepts():
                    self.unit_out_of_place(token)
                    parser.feed_token(replaced(token, "NUMBER", token.split()[0]))
                    continue
                meant = _meant(parser, token)
                if meant is None:
                    self.unexpected(queue, i, parser)
                    return None, [] if self.start == "value" else _from_next_sentence(queue, i)
                said = f"there is no sentence that goes on with `{token}`"
                self.note("THX102", said, self.span(token), "not a keyword", f"did you mean `{meant}`?")
                queue[i] = replaced(token, keywords()[meant], meant)
                parser.feed_token(queue[i])
        try:
            return parser.feed_eof(queue[-1] if queue else None), []
        except UnexpectedToken:
            self.unexpected(queue, len(queue), parser)
            return None, []

    def unit_out_of_place(self, token: Token) -> None:
        """Notes that a number that carries none, such as that of `expect`, has a unit."""
        start = (token.end_pos or 0) - len(token.split()[1])
        unit = self.source.span(start, token.end_pos or 0)
        self.note("THX204", "this number carries no unit", unit, "", "leave the unit out")

    def unexpected(self, tokens: Sequence[Token], at: int, parser: InteractiveParser) -> None:
        """Notes that the sentence does not go on with the token, or that there is none."""
        token = tokens[at] if at < len(tokens) else None
        opened = _unclosed(tokens[:at])
        if opened is not None and (token is None or _begins_sentence(token)):
            said, fix = f"`{opened}` is never closed", "close it before the next sentence"
            self.note("THX104", said, self.span(opened), "opened here", fix)
        elif opened is not None and token is not None and _closes_another(token, opened):
            said, fix = f"`{opened}` is closed by `{token}`", f"close it with {_MARKS[_CLOSING[opened.type]]}"
            self.note("THX104", said, self.span(opened), "opened here", fix)
        elif token is None:
            end = self.span(tokens[-1]).end if tokens else 0
            said = "the text ends in the middle of a sentence" if tokens else "there is nothing to read"
            self.note("THX101", said, self.source.span(end, end), "", *_could_stand(parser))
        else:
            said = f"unexpected `{shortened(token)}`"
            self.note("THX101", said, self.span(token), "cannot stand here", *_could_stand(parser))

    def note(self, code: str, message: str, span: Span, label: str = "", *helps: str) -> None:
        """Adds an error with its place."""
        self.problems.append(Diagnostic(code=code, message=message, primary=Label(span, label), help=helps))

    def span(self, token: Token) -> Span:
        """Where a token stands."""
        return place(self.source, token)


def _meant(parser: InteractiveParser, token: Token) -> str | None:
    """The one keyword that could stand here and that the word is close to."""
    if token.type not in ("NAME", "SETTING") and token.type not in keywords().values():
        return None
    accepted = parser.accepts()
    possible = [word for word, terminal in keywords().items() if terminal in accepted]
    near = near_names(str(token), possible, most=1)
    return near[0] if near else None


def _begins_sentence(token: Token) -> bool:
    """Whether the token can only be the first of a sentence: such a word at the beginning of a line."""
    starts = {keywords()[word] for word in SENTENCES}
    return token.column == 1 and (token.type in starts or (token.type == "SETTING" and token in TOP_SETTINGS))


def _closes_another(token: Token, opened: Token) -> bool:
    """Whether the token closes a bracket of another kind than the one that is open."""
    return token.type in _CLOSING.values() and token.type != _CLOSING[opened.type]


def _from_next_sentence(tokens: Sequence[Token], mistake: int) -> list[Token]:
    """The tokens from the first sentence on that does not begin before the mistake."""
    for i in range(max(mistake, 1), len(tokens)):
        if _begins_sentence(tokens[i]):
            return list(tokens[i:])
    return []


def _could_stand(parser: InteractiveParser) -> tuple[str, ...]:
    """What the grammar accepts next, in words."""
    accepted = parser.accepts()
    words = [f"`{word}`" for word, terminal in keywords().items() if terminal in accepted]
    marks = [text for terminal, text in _MARKS.items() if terminal in accepted]
    operator = ["an operator"] if accepted >= _OPERATORS else []
    return (f"what can stand here: {', '.join([*marks, *operator, *words])}",)


def _unclosed(tokens: Sequence[Token]) -> Token | None:
    """The innermost bracket that is open after the tokens."""
    stack: list[Token] = []
    for token in tokens:
        if token.type in _CLOSING:
            stack.append(token)
        elif stack and token.type == _CLOSING[stack[-1].type]:
            stack.pop()
    return stack[-1] if stack else None
