"""Every installable package that computes a linear CKA in Python, each as one function of two batches.

    pip install ckatorch==1.0.3 pytorch-cka==1.1.3 cka-pytorch==1.1.3 torch-cka==0.21 simtorch==0.2.1 \
        latentis==0.0.8 zynthe==0.2.6 repralign==0.1.1 cka-analyzer==0.1.2 repsim==0.1.5 rsatoolbox==0.3.2 \
        deep-reps==0.0.6

Nothing is imported before it is asked for; what is absent is reported. Some pin other versions of torch or
numpy: `pip install --no-deps --target FOLDER`, with FOLDER on PYTHONPATH, keeps them out of the way. Packages
that only compare layers of models get two models whose layers are the batches. torchdistill 1.1.5 has no
CKA; thingsvision 2.7.3 has one without gradients, and requires torchvision 0.15.2; of anatome pip finds no
release.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

Similarity = Callable[[Tensor, Tensor], Any]
"""The CKA of two batches (n, d), as a package computes and returns it."""
OfLayers = Callable[[nn.Module, nn.Module, Sequence[str], int], Any]
"""The CKAs (layers, layers) of two models that are called with the numbers 0 to n - 1, on the CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One way into one package."""

    package: str
    """Its name on the package index."""
    release: str
    """The version that it was tried with."""
    call: str
    """What is called."""
    unbiased: bool
    """Whether it says that it estimates with the unbiased HSIC."""
    load: Callable[[], Similarity]
    """Imports the package."""

    @property
    def name(self) -> str:
        return f"{self.package} `{self.call}`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A peer that could be imported."""

    peer: Peer
    version: str
    cka: Similarity


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A peer that could not."""

    peer: Peer
    reason: str
    """One line, with what would install it where it is not."""


def load(peer: Peer) -> Installed | Absent:
    """The peer's function, or why there is none."""
    try:
        version = metadata.version(peer.package)
    except metadata.PackageNotFoundError:
        return Absent(peer=peer, reason=f"not installed: `pip install {peer.package}=={peer.release}`")
    try:
        with quiet():
            return Installed(peer=peer, version=version, cka=peer.load())
    except ImportError as error:
        reason = error.msg.split(" (/")[0]  # without the path of the file
        return Absent(peer=peer, reason=f"{version} is installed, importing it fails: {reason}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the packages' progress bars and advice."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


class Taps(nn.Module):
    """A model with layers `tap0`, `tap1`, ... that give the rows of the values (n, d) that `x` asks for."""

    def __init__(self, *values: Tensor, after: nn.Module | None = None) -> None:
        super().__init__()
        self.values = values
        self.taps = nn.ModuleDict({f"tap{i}": nn.Identity() for i in range(len(values))})
        self.after = after or nn.Identity()
        """Called on the output of every tap."""
        self.parameter = nn.Parameter(values[0].new_zeros(()))  # some packages ask where the model is

    def forward(self, x: Tensor) -> Tensor:
        outputs = [self.after(tap(v[x])) for tap, v in zip(self.taps.values(), self.values, strict=True)]
        return outputs[-1]


def of_batches(load_layers: Callable[[], OfLayers]) -> Callable[[], Similarity]:
    """Loads the same for two batches."""

    def load() -> Similarity:
        compare = load_layers()
        return lambda a, b: compare(Taps(a), Taps(b), ["taps.tap0"], len(a))[0, 0]

    return load


def numbers(n: int) -> DataLoader[Any]:
    """One batch of the numbers of all rows, with labels as image sets have them."""
    return DataLoader(TensorDataset(torch.arange(n), torch.zeros(n)), batch_size=n)


def _ckatorch_hsic() -> Similarity:
    from ckatorch.core import cka_base

    return lambda a, b: cka_base(a, b, method="hsic")


def _ckatorch_norm() -> Similarity:
    from ckatorch.core import cka_base

    return cka_base


def _ckatorch_batch() -> Similarity:
    from ckatorch.core import cka_batch

    return lambda a, b: cka_batch(a[None], b[None])


def _pytorch_cka() -> Similarity:
    from cka import cka_from_features

    return lambda a, b: cka_from_features(a, b)[0, 0]


def pytorch_cka_layers() -> OfLayers:
    from cka import compute_cka

    def compare(one: nn.Module, other: nn.Module, layers: Sequence[str], n: int) -> Any:
        return compute_cka(one, other, numbers(n), layers=layers, device="cpu", progress=False)[0]

    return compare


def cka_pytorch_layers() -> OfLayers:
    from cka_pytorch.cka import CKACalculator

    def compare(one: nn.Module, other: nn.Module, layers: Sequence[str], n: int) -> Any:
        calculator = CKACalculator(one, other, list(layers), verbose=False)
        return calculator.calculate_cka_matrix(numbers(n), num_epochs=1)

    return compare


def torch_cka_layers() -> OfLayers:
    from torch_cka import CKA

    def compare(one: nn.Module, other: nn.Module, layers: Sequence[str], n: int) -> Any:
        with quiet():
            cka = CKA(one, other, "one", "other", model1_layers=list(layers), model2_layers=list(layers))
            cka.compare(numbers(n))
        return cka.hsic_matrix

    return compare


def simtorch_layers(*, unbiased: bool = False) -> OfLayers:
    from simtorch.model import SimilarityModel
    from simtorch.similarity import CKA

    def compare(one: nn.Module, other: nn.Module, layers: Sequence[str], n: int) -> Any:
        models = [SimilarityModel(model, layers_to_include=list(layers)) for model in (one, other)]
        with quiet():
            return CKA(*models, unbiased=unbiased).compute(numbers(n))

    return compare


def _latentis() -> Similarity:
    from latentis.measure.functional.cka import linear_cka

    return linear_cka


def _zynthe() -> Similarity:
    from zynthe.core.distillers.feature_distiller import FeatureMetrics

    return lambda a, b: 1 - FeatureMetrics.centered_kernel_alignment(b, a)


def _repralign() -> Similarity:
    from repralign.metrics.cka import linear_cka

    return linear_cka


def _cka_analyzer() -> Similarity:
    from cka_analyzer.compute import linear_cka

    return lambda a, b: linear_cka(a.detach().numpy(), b.numpy())


def _repsim(estimator: str) -> Similarity:
    import repsim

    def compare(a: Tensor, b: Tensor) -> float:
        return repsim.cka([a.detach().numpy(), b.numpy()], kernel_type="linear", estimator=estimator)[0, 1]

    return compare


def _rsatoolbox() -> Similarity:
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm, compare

    def similarity(a: Tensor, b: Tensor) -> float:
        rdms = [calc_rdm(Dataset(x.detach().numpy()), method="euclidean") for x in (a, b)]
        return compare(*rdms, method="cosine_cov")[0, 0]

    return similarity


def _deep_reps() -> Similarity:
    from deep_reps import centered_kernel_alignment

    return centered_kernel_alignment


PEERS = (
    Peer(
        package="ckatorch",
        release="1.0.3",
        call="cka_base(method='hsic')",
        unbiased=False,
        load=_ckatorch_hsic,
    ),
    Peer(package="ckatorch", release="1.0.3", call="cka_base", unbiased=False, load=_ckatorch_norm),
    Peer(package="ckatorch", release="1.0.3", call="cka_batch", unbiased=True, load=_ckatorch_batch),
    Peer(package="pytorch-cka", release="1.1.3", call="cka_from_features", unbiased=True, load=_pytorch_cka),
    Peer(
        package="pytorch-cka",
        release="1.1.3",
        call="compute_cka",
        unbiased=True,
        load=of_batches(pytorch_cka_layers),
    ),
    Peer(package="latentis", release="0.0.8", call="linear_cka", unbiased=False, load=_latentis),
    Peer(package="zynthe", release="0.2.6", call="centered_kernel_alignment", unbiased=False, load=_zynthe),
    Peer(
        package="cka-pytorch",
        release="1.1.3",
        call="CKACalculator",
        unbiased=True,
        load=of_batches(cka_pytorch_layers),
    ),
    Peer(
        package="torch-cka",
        release="0.21",
        call="CKA.compare",
        unbiased=True,
        load=of_batches(torch_cka_layers),
    ),
    Peer(
        package="simtorch",
        release="0.2.1",
        call="CKA.compute",
        unbiased=False,
        load=of_batches(simtorch_layers),
    ),
    Peer(package="repralign", release="0.1.1", call="linear_cka", unbiased=False, load=_repralign),
    Peer(package="cka-analyzer", release="0.1.2", call="linear_cka", unbiased=False, load=_cka_analyzer),
    Peer(
        package="repsim",
        release="0.1.5",
        call="cka(estimator='gretton')",
        unbiased=False,
        load=partial(_repsim, "gretton"),
    ),
    Peer(
        package="repsim",
        release="0.1.5",
        call="cka(estimator='song')",
        unbiased=True,
        load=partial(_repsim, "song"),
    ),
    Peer(
        package="rsatoolbox",
        release="0.3.2",
        call="compare(method='cosine_cov')",
        unbiased=False,
        load=_rsatoolbox,
    ),
    Peer(
        package="deep-reps",
        release="0.0.6",
        call="centered_kernel_alignment",
        unbiased=False,
        load=_deep_reps,
    ),
)
