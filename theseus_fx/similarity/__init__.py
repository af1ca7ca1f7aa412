"""Representational similarity of activations: exact linear CKA as a value and as a loss."""

from theseus_fx.similarity.chance import chance_level
from theseus_fx.similarity.cka import GuideGram, cka, cka_loss

__all__ = ["GuideGram", "chance_level", "cka", "cka_loss"]
