"""Language models: a converted network must not read what it is asked to predict."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from theseus_fx.data.language import LanguageModelling
from theseus_fx.data.source import Split
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import Rule
from theseus_fx.planning.plan import Part
from theseus_fx.run.alignment.stages import unaligned
from theseus_fx.run.job import Job, logits_of
from theseus_fx.run.start import random_start

SAME = 1e-4
"""Difference of logits, in parts of the largest one, that arithmetic alone may make."""


def check_causal(job: Job) -> None:
    """Refuses a conversion whose positions see later ones where those of the guide do not.

    The perplexity of such a network means nothing, for the next token is among its inputs. Looked at are the
    networks with random replacements: of one sequence, the second half is another one; where the guide's
    logits of the first half stay, those of the converted network have to.

    Raises:
        Rejected: THX804, naming the replacements through which later positions are seen.
    """
    if not isinstance(job.task, LanguageModelling):
        return
    sequences = next(iter(job.batches(Split.VALIDATION))).inputs
    if _looks_ahead(job, job.guide, sequences) or not _looks_ahead(job, unaligned(job), sequences):
        return
    rules = {rule.name: rule for rule in job.plan.spec.rules}
    found = [
        _diagnostic(part, rules[part.rule])
        for part in job.plan.parts
        if _looks_ahead(job, job.hybrid({part.name: random_start(job, part)}), sequences)
    ]
    raise Rejected(*(found or [_diagnostic_of_network(job)]))


@torch.no_grad()
def _looks_ahead(job: Job, model: nn.Module, sequences: tuple[Tensor, ...]) -> bool:
    """Whether the logits of the first half change with the tokens of the second."""
    was_training = model.training
    model.eval()
    tokens, *rest = (values[:1] for values in sequences)
    half = tokens.shape[1] // 2
    other = tokens.clone()
    other[:, half:] = (other[:, half:] + 1) % job.source.classes
    one, two = (logits_of(model, x, *rest)[:, :half].float() for x in (tokens, other))
    model.train(was_training)
    return bool((one - two).abs().max() > SAME * one.abs().max()) if half else False


def _diagnostic(part: Part, rule: Rule) -> Diagnostic:
    return Diagnostic(
        code="THX804",
        message=f"{part.name} {part.path}: its replacement sees later tokens, which it helps to predict",
        primary=Label(rule.replacement.span, "the replacement"),
        help=("write one that reads from left to right, such as `ElmanRNN`, or sees one token alone",),
    )


def _diagnostic_of_network(job: Job) -> Diagnostic:
    target = job.plan.spec.target
    return Diagnostic(
        code="THX804",
        message="the converted network sees later tokens, which are what is to be predicted",
        primary=None if target is None else Label(target.span),
        help=("the guide sees none; a target for language modelling must not either",),
    )
