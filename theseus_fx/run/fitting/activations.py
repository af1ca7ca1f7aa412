"""What flows into the map that a fit solves for, in the hybrid so far, and what it would have to return."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from theseus_fx.data.order import stable_seed
from theseus_fx.graph.program import stage_program
from theseus_fx.modules.endings import LinearEnding, as_rows, put_back, strided
from theseus_fx.modules.fits.columns import SLAB
from theseus_fx.modules.fits.memory import HELD
from theseus_fx.planning.plan import Part
from theseus_fx.run.job import Job
from theseus_fx.run.recalibrate import recompute_statistics

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A part that is being fitted: where it stands and what it sees."""

    job: Job
    part: Part
    introduced: Mapping[str, nn.Module]
    """The replacements that stand already, whose drift the fit sees."""
    samples: int

    def inputs(self) -> Iterator[tuple[Tensor, ...]]:
        """The model's inputs in batches, without labels, the same every time."""
        job = self.job
        seed = stable_seed(job.session.seed, "fit")
        for batch in job.source.unlabelled(self.samples, seed=seed):
            job.session.heed_stop()
            yield tuple(x.to(job.session.device) for x in batch)

    @torch.no_grad()
    def values(self) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """Batch by batch what the hybrid feeds to the part, and the guide's output of it."""
        plan = self.job.plan
        stand = [(plan.part(name), module) for name, module in self.introduced.items()]
        replacements = {other.node: other.placed(module) for other, module in stand}
        taps = [*self.part.takes, self.part.node]
        program = stage_program(plan.trace, self.job.guide, replacements, taps=taps).eval()
        for inputs in self.inputs():
            outputs = program(*inputs)
            yield outputs.target_taps[:-1], outputs.guide_taps[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapRows:
    """What flows into a replacement's last map, and what that would have to return: rows of features."""

    site: Site
    module: nn.Module
    """The replacement; its last map returns zeros."""
    ending: LinearEnding
    shape: tuple[int, ...]
    """Of what the last map returns, without the batch."""

    @classmethod
    def of(cls, site: Site, module: nn.Module, ending: LinearEnding) -> MapRows:
        """Prepares a replacement: eval mode, batch statistics from the data, a last map of zeros."""
        module.eval()
        norms = [norm for norm in module.modules() if isinstance(norm, _NORMS) and norm.track_running_stats]
        if norms:
            with torch.no_grad():
                recompute_statistics(module, norms, (taken for taken, _ in site.values()))
            module.eval()
        last = module.get_submodule(ending.name)
        with torch.no_grad():
            for parameter in last.parameters():
                parameter.zero_()
        shapes: list[torch.Size] = []
        with last.register_forward_hook(lambda _module, _inputs, output: shapes.append(output.shape)):
            taken, _ = next(site.values())
            module(*taken)
        return cls(site=site, module=module, ending=ending, shape=tuple(shapes[0][1:]))

    @property
    def positions(self) -> int:
        """Rows that a sample makes."""
        return math.prod(self.shape) // self.ending.d_out

    def wanted(self, y: Tensor) -> Tensor:
        """Values in the place of the part's output as rows of the last map's output."""
        last = self.module.get_submodule(self.ending.name)
        return as_rows(put_back(y / self.ending.scale, self.ending.moves, self.shape), last)

    @torch.no_grad()
    def pieces(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs, (rows, d_in), and wanted outputs, (rows, d_out), batch by batch."""
        ending, last = self.ending, self.module.get_submodule(self.ending.name)
        feeder = last if ending.first is None else self.module.get_submodule(ending.first)
        flowing: list[Tensor] = []

        def enter(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            flowing.append(inputs[0])

        with feeder.register_forward_pre_hook(enter):
            for taken, wanted in self.site.values():
                flowing.clear()
                rest = self.module(*taken)  # for its last map returns zeros
                yield as_rows(strided(flowing[0], feeder), feeder), self.wanted(wanted - rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceColumns:
    """Rows that come in pieces, as columns: held where that is little, else computed anew for each slab.

    No more than `HELD` bytes are: of two slabs, the first, which stays, and one other.
    """

    pieces: Callable[[], Iterator[Tensor]]
    """All rows, some at a time, the same every time."""
    first: Tensor
    """The first slab: all rows, some columns."""
    width: int

    @classmethod
    def of(cls, pieces: Callable[[], Iterator[Tensor]], *, rows: int, width: int) -> PieceColumns:
        """Goes through the pieces once, to hold the first slab; there are at most `rows`."""
        some = width if 4 * rows * width <= HELD else max(SLAB, HELD // (8 * rows) // SLAB * SLAB)
        return cls(pieces=pieces, first=_slab(pieces(), rows, slice(0, some)), width=width)

    @property
    def shape(self) -> tuple[int, int]:
        return self.first.shape[0], self.width

    def slabs(self) -> Iterator[Tensor]:
        """Slabs of all rows and some columns, in the dtype of the activations."""
        yield self.first
        rows, some = self.first.shape
        for begin in range(some, self.width, some):
            yield _slab(self.pieces(), rows, slice(begin, begin + some))


def _slab(pieces: Iterator[Tensor], rows: int, columns: slice) -> Tensor:
    """Some columns of all pieces, copied as they come, so that they are in memory once."""
    slab: Tensor | None = None
    filled = 0
    for piece in pieces:
        part = piece[:, columns]
        if slab is None:
            slab = part.new_empty((rows, part.shape[1]))
        slab[filled : filled + len(part)] = part
        filled += len(part)
    if slab is None:
        raise ValueError("a fit needs rows")
    return slab[:filled]
