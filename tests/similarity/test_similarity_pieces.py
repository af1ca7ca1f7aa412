"""A batch in pieces: the gradient of the whole, random numbers and buffers as in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from similarity_cases import normal
from torch import Tensor, nn

from theseus_fx.similarity import Cka, Dmnn, Metric, tap_losses
from theseus_fx.similarity.micro_batches import backward_in_pieces

METRICS = [Cka(), Cka(unbiased=True), Dmnn(k=3)]


class Taps(nn.Module):
    """Two taps of a target, and one of a frozen guide."""

    def __init__(self, *between: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Linear(5, 8), *between).double()
        self.second = nn.Linear(8, 4).double()
        self.guide = nn.Linear(5, 6).double().requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.first(x)
        return h, self.second(h), self.guide(x)


def loss_of(metric: Metric) -> object:
    def loss(taps: Sequence[Tensor]) -> Tensor:
        first, second, guide = taps
        return tap_losses([first, second], [guide, guide], metric).mean()

    return loss


@pytest.mark.parametrize("metric", METRICS, ids=str)
@pytest.mark.parametrize("sizes", [[16], [4, 4, 4, 4], [7, 1, 8]], ids=str)
def test_gradient_of_the_whole_batch(metric: Metric, sizes: list[int]) -> None:
    x, net = normal(16, 5), Taps(nn.Tanh())
    loss = loss_of(metric)
    expected = loss(net(x))
    expected.backward()
    gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    got = backward_in_pieces(net, x.split(sizes), loss)
    assert float(got) == pytest.approx(float(expected.detach()), rel=1e-12)
    assert not got.requires_grad
    assert gradients.keys() == {"first.0.weight", "first.0.bias", "second.weight", "second.bias"}
    for name, p in net.named_parameters():
        if name in gradients:
            assert p.grad is not None
            torch.testing.assert_close(p.grad, gradients[name])


def test_gradients_add_to_those_that_are_there() -> None:
    x, net = normal(8, 5), Taps(nn.Tanh())
    backward_in_pieces(net, x.split(4), loss_of(Cka()))
    assert net.second.weight.grad is not None
    once = net.second.weight.grad.clone()
    backward_in_pieces(net, x.split(4), loss_of(Cka()))
    torch.testing.assert_close(net.second.weight.grad, 2 * once)


def test_dropout_of_a_piece_is_the_same_in_both_passes() -> None:
    x, net = normal(12, 5), Taps(nn.Tanh(), nn.Dropout(0.4))
    torch.manual_seed(1)
    outputs = [net(piece) for piece in x.split(4)]  # one pass with a graph, as the memory does not allow
    expected = loss_of(Cka())([torch.cat(parts) for parts in zip(*outputs, strict=True)])
    expected.backward()
    after = torch.get_rng_state()
    assert net.first[0].weight.grad is not None
    gradient = net.first[0].weight.grad.clone()
    net.zero_grad()
    torch.manual_seed(1)
    got = backward_in_pieces(net, x.split(4), loss_of(Cka()))
    assert float(got) == pytest.approx(float(expected.detach()), rel=1e-12)
    torch.testing.assert_close(net.first[0].weight.grad, gradient)
    assert torch.equal(torch.get_rng_state(), after)


def test_batchnorm_counts_each_piece_once() -> None:
    x = normal(12, 5)
    one, other = Taps(nn.BatchNorm1d(8)), Taps(nn.BatchNorm1d(8))
    for piece in x.split(4):
        one(piece)
    backward_in_pieces(other, x.split(4), loss_of(Cka()), modules=[other])
    for name, buffer in one.named_buffers():
        assert torch.equal(buffer, other.get_buffer(name)), name


def test_a_loss_that_leaves_a_tap_out() -> None:
    x, net = normal(8, 5), Taps(nn.Tanh())
    backward_in_pieces(net, x.split(4), lambda taps: tap_losses(taps[:1], taps[2:], Cka()).mean())
    assert net.second.weight.grad is None
    assert net.first[0].weight.grad is not None


def test_no_pieces_are_no_batch() -> None:
    with pytest.raises(ValueError, match="no pieces"):
        backward_in_pieces(Taps(), [], loss_of(Cka()))
