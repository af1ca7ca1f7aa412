"""The vocabulary of the language against what carries it out."""

from __future__ import annotations

import inspect

from theseus_fx.data.registry import SOURCES
from theseus_fx.lang import words
from theseus_fx.models.zoo import ZOO


def test_data_sources_have_the_same_names_and_arguments() -> None:
    assert {name: signature.names() for name, signature in words.SOURCES.items()} == {
        name: kind.arguments for name, kind in SOURCES.items()
    }


def test_every_source_has_a_batch_with_a_default() -> None:
    for signature in words.SOURCES.values():
        (batch,) = (argument for argument in signature.arguments if argument.name == "batch")
        assert isinstance(batch.default, int)


def test_models_of_the_zoo_have_the_same_arguments_and_defaults() -> None:
    assert set(words.ZOO) == set(ZOO)
    for name, signature in words.ZOO.items():
        parameters = inspect.signature(ZOO[name]).parameters
        assert [(a.name, a.default) for a in signature.arguments] == [
            (parameter.name, parameter.default) for parameter in parameters.values()
        ]
