"""What each keyword does in a sentence: the one table of the formatter and of the syntax highlighting.

A new keyword of `grammar/thx.lark` needs one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class WordClass(Enum):
    """The place of a keyword in its sentence."""

    SENTENCE = "sentence"
    """Begins a sentence of the top level."""
    CLAUSE = "clause"
    """Begins a line in a block."""
    QUALIFIER = "qualifier"
    """Goes on with a clause on the same line, two spaces away; too long a line breaks in front of it."""
    JOINER = "joiner"
    """Joins two parts of a clause; something always follows it."""
    OPERATOR = "operator"
    """An operator that is a word."""


_WORDS: Mapping[WordClass, str] = {
    WordClass.SENTENCE: (
        "theseus use param guide target input module pattern rule pair schedule recalibrate finetune compare"
    ),
    WordClass.CLAUSE: "match replace align group stage require return",
    WordClass.QUALIFIER: "where within expect keep every split at",
    WordClass.JOINER: "as in with by trained else",
    WordClass.OPERATOR: "or and not",
}

WORD_CLASSES: Mapping[str, WordClass] = {word: kind for kind, row in _WORDS.items() for word in row.split()}
"""Every keyword. `guide` and `target` begin a line wherever they stand."""

SETTINGS_FOLLOW = frozenset({"align", "guide", "target"})
"""Words whose clause, in a block, may end with settings: `align r.main ~ hidden  weight = 0.5`."""
