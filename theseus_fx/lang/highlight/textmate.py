"""`.thx` as a TextMate grammar, for editors that read those."""

from __future__ import annotations

import json

from theseus_fx.lang.highlight.lexicon import LEXICON


def textmate_grammar() -> str:
    """The text of `grammar/thx.tmLanguage.json`."""
    grammar = {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "information_for_contributors": "Made by `python -m theseus_fx.lang.highlight`; do not edit.",
        "name": "theseus-fx",
        "scopeName": "source.thx",
        "fileTypes": ["thx"],
        "patterns": [{"name": f"{entry.scope}.thx", "match": entry.pattern} for entry in LEXICON],
    }
    return json.dumps(grammar, indent=2) + "\n"
