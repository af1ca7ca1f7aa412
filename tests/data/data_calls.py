"""Calls of data sources as the checker hands them over."""

from __future__ import annotations

from theseus_fx.lang import words
from theseus_fx.lang.source import Source, Span
from theseus_fx.lang.spec import Invocation, Value


def call(name: str, /, **keywords: Value) -> Invocation:
    """The invocation `NAME(key = value, ...)`, with the span of each value in a text that reads so.

    Arguments that are not given have the defaults of the language, and no span.
    """
    text, places = f"data = {name}(", {}
    for key, value in keywords.items():
        text += f"{key} = "
        places[key] = (len(text), len(text) + len(str(value)))
        text += f"{value}, "
    source = Source("spec.thx", f"{text})")
    spans: dict[str, Span] = {key: source.span(*ends) for key, ends in places.items()}
    known = words.SOURCES[name].arguments if name in words.SOURCES else ()
    defaults = {a.name: a.default for a in known if not a.required}
    return Invocation(
        name=name, keywords={**defaults, **keywords}, span=source.span(7, len(text) + 1), spans=spans
    )
