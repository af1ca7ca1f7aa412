"""Seeds and orders: pinned values, so that no release, process or machine draws others."""

from __future__ import annotations

import torch

from theseus_fx.data.order import epoch_order, generator, held_out, stable_seed


def test_seed_is_pinned() -> None:
    assert stable_seed("epoch", 3, 1) == 6782303502479529890
    assert stable_seed("a", 1) != stable_seed("a", "1")
    assert stable_seed("ab", "c") != stable_seed("a", "bc")


def test_orders_are_pinned() -> None:
    assert epoch_order(6, 0, 0).tolist() == [5, 3, 0, 2, 4, 1]
    assert epoch_order(6, 1, 2).tolist() == [1, 0, 2, 4, 5, 3]
    assert [part.tolist() for part in held_out(6, 0.3)] == [[0, 1, 2, 3], [4, 5]]


def test_epoch_order_is_a_permutation_of_its_own_for_each_epoch_and_seed() -> None:
    orders = [epoch_order(50, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(50))
    assert len({tuple(order.tolist()) for order in orders}) == 4
    assert torch.equal(epoch_order(50, 0, 0), orders[0])


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    epoch_order(10, 12345, 0)
    torch.rand(3, generator=generator("x"))
    assert torch.equal(torch.get_rng_state(), before)


def test_held_out_parts_the_samples() -> None:
    kept, held = held_out(100, 0.05)
    assert len(held) == 5
    assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(100))
    assert torch.equal(kept, kept.sort().values)


def test_held_out_leaves_something_on_both_sides() -> None:
    assert [len(part) for part in held_out(2, 0.01)] == [1, 1]
    assert [len(part) for part in held_out(2, 0.99)] == [1, 1]
