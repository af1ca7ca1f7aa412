"""Syntax highlighting: a Pygments lexer and a TextMate grammar, both made from one table (`lexicon.py`)."""
