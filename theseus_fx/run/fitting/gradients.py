"""What the guide's logits feel of a part's output: the gradients of which the metric of a fit is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from theseus_fx.data.order import generator
from theseus_fx.graph.program import stage_program, target_program
from theseus_fx.modules.fits.memory import metric_rows
from theseus_fx.run.fitting.activations import MapRows

SAMPLES = 512
"""Inputs whose gradients make the metric; more changed nothing where it was measured."""

PROBES = 16
"""Random combinations of logits, where there are more logits than that for a sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradients:
    """Gradients of the guide's centred logits with respect to what a replacement's last map should return.

    Where the logits are few, of each. Else of combinations whose weights are independent and normal: the
    expectation of their second moments is that of all logits.
    """

    rows: MapRows

    @classmethod
    def of(cls, rows: MapRows) -> Gradients:
        """Those of the first samples that the fit looks at."""
        return cls(rows=replace(rows, site=replace(rows.site, samples=min(rows.site.samples, SAMPLES))))

    @property
    def limited(self) -> Gradients:
        """Those of so few samples that they can be held as rows."""
        rows = self.rows
        samples = max(1, metric_rows(rows.ending.d_out) // (PROBES * rows.positions))
        fewer = replace(rows.site, samples=min(rows.site.samples, samples))
        return Gradients(rows=replace(rows, site=fewer))

    @property
    def most(self) -> int:
        """Rows that there are at most."""
        return PROBES * self.rows.positions * self.rows.site.samples

    def pieces(self) -> Iterator[Tensor]:
        """Rows of gradients, (n, d_out), some at a time, the same every time."""
        site = self.rows.site
        job = site.job
        guide = stage_program(job.plan.trace, job.guide, {}, taps=[site.part.node])
        given = _Given()
        rest = target_program(job.plan.trace, job.guide, {site.part.node: site.part.placed_plainly(given)})
        probes = generator("probes", job.session.seed, site.part.name)
        for inputs in site.inputs():
            with torch.no_grad():
                (tap,) = guide(*inputs).guide_taps
            given.value = tap.detach().requires_grad_()
            with torch.enable_grad():
                logits = rest(*inputs)
                for weights in _weights(logits, probes):
                    (gradient,) = torch.autograd.grad(
                        (logits * weights).sum(), given.value, retain_graph=True
                    )
                    yield self.rows.wanted(gradient)


class _Given(nn.Module):
    """Stands for a part whose output is known, so that gradients begin there."""

    value: Tensor

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.value


def _weights(logits: Tensor, probes: torch.Generator) -> Iterator[Tensor]:
    """Weights of centred logits, each like `logits`: one logit after another, or random ones."""
    count = logits.shape[-1]
    if logits.dim() == 2 and count <= PROBES:
        for k in range(count):
            weights = torch.full_like(logits, -1 / count)
            weights[:, k] += 1
            yield weights
        return
    for _ in range(PROBES):
        weights = torch.randn(logits.shape, generator=probes).to(logits)
        yield weights - weights.mean(-1, keepdim=True)
