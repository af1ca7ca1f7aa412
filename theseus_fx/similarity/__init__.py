"""Representational similarity of activations: exact, differentiable and fast; usable without the rest.

Values: `cka`, `ucka`, `mutual_knn`, `minibatch_ucka`. Losses, with a gradient to their first argument:
`cka_loss`, `ucka_loss`, `dmnn_loss`, `mse_loss`, `distillation_loss`; `tap_losses` for several taps at once.
`GuideGram.of` keeps what they need of activations that do not change; `token_rows` makes tokens the rows. For
batches that are spread over processes see `theseus_fx.similarity.distributed`, over steps
`theseus_fx.similarity.micro_batches`.
"""

from theseus_fx.similarity.dmnn import Dmnn
from theseus_fx.similarity.guide import GuideGram
from theseus_fx.similarity.hsic import Cka
from theseus_fx.similarity.losses import Metric, cka_loss, dmnn_loss, tap_losses, ucka_loss
from theseus_fx.similarity.monitors import Reading, chance_level, read
from theseus_fx.similarity.outputs import distillation_loss, mse_loss
from theseus_fx.similarity.rows import rows, token_rows
from theseus_fx.similarity.values import cka, minibatch_ucka, mutual_knn, ucka

__all__ = [
    "Cka",
    "Dmnn",
    "GuideGram",
    "Metric",
    "Reading",
    "chance_level",
    "cka",
    "cka_loss",
    "distillation_loss",
    "dmnn_loss",
    "minibatch_ucka",
    "mse_loss",
    "mutual_knn",
    "read",
    "rows",
    "tap_losses",
    "token_rows",
    "ucka",
    "ucka_loss",
]
