"""One linear map fitted by ridge regression: the read-out of features that are there already."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from theseus_fx.modules.fits.moments import Moments, decomposed
from theseus_fx.modules.fits.spectrum import cross_validated


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearFit:
    """y ≈ weight x + bias."""

    weight: Tensor
    """(d_out, d_in), float64."""
    bias: Tensor
    """(d_out,), float64; zero where the moments are not centred."""
    ridge_used: float
    """Relative: λ is this times the mean squared norm of the inputs."""
    residual: float
    """The share of ||Y||² that the map leaves on these rows: 0 is exact, 1 is the mean alone."""


def fit_linear(moments: Moments, *, ridge: float | None = None) -> LinearFit:
    """The ridge regression of outputs on inputs.

    Minimises ||Y - X B||² + λ ||B||², whose solution (XᵀX + λI)⁻¹ XᵀY is the same in any metric of the
    outputs. Directions that the inputs do not have get no weight.

    Args:
        moments: of inputs and outputs.
        ridge: λ relative to the mean squared norm of the inputs; None: by generalised cross-validation.

    Raises:
        ValueError: a negative ridge, or fewer than two rows.
    """
    if ridge is not None and not 0 <= ridge < float("inf"):
        raise ValueError(f"a ridge is zero or positive, not {ridge}")
    if moments.count < 2:
        raise ValueError(f"a fit needs at least two rows, not {moments.count}")
    found = decomposed(moments)
    spectrum = found.spectrum
    if ridge is None:
        ridge = cross_validated(spectrum)
    kept = spectrum.kept(ridge)
    # V diag(s / (s² + λ)) PᵀY
    weight = (found.v @ ((kept / spectrum.square.sqrt())[:, None] * found.projected)).mT
    explained = ((2 * kept - kept.square()) * spectrum.core.diagonal()).sum()
    return LinearFit(
        weight=weight,
        bias=moments.mean_y - weight @ moments.mean_x,
        ridge_used=ridge,
        residual=spectrum.residual(explained),
    )
