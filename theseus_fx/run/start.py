"""How a replacement begins: torch's own initialisation, or the closed-form fit (design, section 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from theseus_fx.data.order import stable_seed
from theseus_fx.graph.program import stage_program, target_program
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import Start
from theseus_fx.modules.fit import fit_low_rank
from theseus_fx.modules.logit_metric import logit_metric
from theseus_fx.planning.plan import Part
from theseus_fx.run.job import Job

METRIC_SAMPLES = 512
"""Inputs whose gradients make the logit metric; more changed nothing where it was measured."""


def random_start(job: Job, part: Part) -> nn.Module:
    """The part's replacement with torch's initialisation, from the run's seed and the part's name."""
    seed = stable_seed(job.session.seed, "start", part.name)
    return part.recipe.make(device=job.session.device, seed=seed)


def fitted_start(job: Job, part: Part, introduced: Mapping[str, nn.Module], start: Start) -> nn.Module:
    """The part's replacement, fitted to the guide's outputs from the hybrid's own inputs.

    Args:
        job: the run.
        part: what is replaced; its recipe has the low-rank form.
        introduced: the replacements that stand already, whose drift the fit sees.
        start: number of samples, metric and ridge of the fit.
    """
    module = random_start(job, part)
    form = part.recipe.low_rank_form()
    if form is None:
        raise ValueError(f"{part.name} has no low-rank form")  # the planner chose the start
    inputs = _unlabelled(job, start.samples)
    x, y = _pairs(job, part, introduced, inputs)
    metric = None
    if start.metric == "logits":
        metric = _logit_metric(job, part, _unlabelled(job, min(start.samples, METRIC_SAMPLES)))
    try:
        fit = fit_low_rank(x, y, rank=form.rank, metric=metric, ridge=start.ridge)
    except ValueError as error:  # too few samples for the rank, or activations that are not finite
        raise Rejected(
            Diagnostic(
                code="THX508",
                message=f"{part.name} {part.path} cannot start from a fit: {error}",
                primary=None if start.span is None else Label(start.span),
                help=("write `init = random`, more `samples`, or a smaller rank",),
            )
        ) from error
    first, second = _linear(module, form.first), _linear(module, form.second)
    with torch.no_grad():
        first.weight.copy_(fit.w_in)
        second.weight.copy_(fit.w_out)
        second.bias.copy_(fit.bias)
    return module


def _check_rows(part: Part, logits: Tensor) -> None:
    """The metric takes a backward pass a logit, which is out of reach where every token has its own."""
    if logits.dim() == 2:
        return
    shape = " x ".join(str(size) for size in logits.shape)
    raise Rejected(
        Diagnostic(
            code="THX508",
            message=f"{part.name} {part.path} cannot be fitted by the guide's logits, which are {shape}",
            help=("write `init = fit(metric = plain)`, or `init = random`",),
        )
    )


def _linear(module: nn.Module, name: str) -> nn.Linear:
    child = module.get_submodule(name)
    if not isinstance(child, nn.Linear):
        raise TypeError(f"{name} is a {type(child).__name__}")
    return child


def _unlabelled(job: Job, samples: int) -> list[tuple[Tensor, ...]]:
    """Batches of `samples` inputs in all, on the device."""
    device = job.session.device
    seed = stable_seed(job.session.seed, "fit")
    return [tuple(x.to(device) for x in batch) for batch in job.source.unlabelled(samples, seed=seed)]


@torch.no_grad()
def _pairs(
    job: Job, part: Part, introduced: Mapping[str, nn.Module], batches: Sequence[tuple[Tensor, ...]]
) -> tuple[Tensor, Tensor]:
    """The hybrid's inputs of the part, (N, d_in), and the guide's outputs, (N, d_out), one sample a row."""
    stand = [(job.plan.part(name), module) for name, module in introduced.items()]
    replacements = {other.node: other.placed(module) for other, module in stand}
    taps = [part.input_node, part.node]
    program = stage_program(job.plan.trace, job.guide, replacements, taps=taps).eval()
    rows: list[tuple[Tensor, Tensor]] = []
    for inputs in batches:
        job.session.heed_stop()
        outputs = program(*inputs)
        rows.append((outputs.target_taps[0].flatten(1), outputs.guide_taps[1].flatten(1)))
    return torch.cat([x for x, _ in rows]), torch.cat([y for _, y in rows])


def _logit_metric(job: Job, part: Part, batches: Sequence[tuple[Tensor, ...]]) -> Tensor:
    """The metric of what the part's output does to the guide's centred logits."""
    program = target_program(job.plan.trace, job.guide, {}, taps=[part.node])
    gradients: list[Tensor] = []
    for inputs in batches:
        job.session.heed_stop()
        leaves = tuple(x.detach().requires_grad_(x.is_floating_point()) for x in inputs)
        with torch.enable_grad():
            logits, (tap,) = program(*leaves)
            _check_rows(part, logits)
            centred = logits - logits.mean(-1, keepdim=True)
            for k in range(centred.shape[-1]):
                (gradient,) = torch.autograd.grad(centred[:, k].sum(), tap, retain_graph=True)
                gradients.append(gradient.flatten(1))
    return logit_metric(torch.cat(gradients))
