"""`python -m theseus_fx.lang.highlight > grammar/thx.tmLanguage.json` makes the TextMate grammar anew."""

from __future__ import annotations

import sys

from theseus_fx.lang.highlight.textmate import textmate_grammar

sys.stdout.write(textmate_grammar())
