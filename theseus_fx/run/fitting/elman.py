"""An Elman network started from a balanced truncation of what the guide's part does to sequences."""

from __future__ import annotations

import torch
from torch import nn

from theseus_fx.modules.endings import ElmanEnding
from theseus_fx.modules.fits.balanced import ElmanFit, fit_elman
from theseus_fx.run.fitting.activations import Site


def start_elman(site: Site, module: nn.Module, ending: ElmanEnding) -> ElmanFit:
    """Fits a replacement that is an Elman network, in place."""
    pairs = [(taken[0], wanted) for taken, wanted in site.values()]
    x, y = (torch.cat(side) for side in zip(*pairs, strict=True))
    fit = fit_elman(x, y, layers=ending.layers)
    network = module.get_submodule(ending.name)
    with torch.no_grad():
        for number, layer in enumerate(fit.layers):
            network.get_parameter(f"weight_ih_l{number}").copy_(layer.w_ih)
            network.get_parameter(f"weight_hh_l{number}").copy_(layer.w_hh)
            network.get_parameter(f"bias_ih_l{number}").copy_(layer.bias)
            network.get_parameter(f"bias_hh_l{number}").zero_()
    return fit
