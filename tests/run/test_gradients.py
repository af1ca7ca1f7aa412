"""Gradients of a batch in pieces, in bfloat16, and with activations that are computed again."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from broken_runs import assert_same_run, metrics, run, run_broken, spec
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet18

from theseus_fx.data.source import Batch
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.spec import Compute
from theseus_fx.run.gradients import Losses, Work, add_gradients, split
from theseus_fx.run.memory import in_memory
from theseus_fx.run.recompute import blocks, recomputed
from theseus_fx.similarity import Cka, tap_losses

CPU = torch.device("cpu")


def batch_of(step: int, samples: int = 7) -> Batch:
    torch.manual_seed(step)
    return Batch(inputs=(torch.randn(samples, 6, dtype=torch.float64),), labels=torch.randint(4, (samples,)))


def nets() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Dropout(0.5), nn.Linear(9, 4))
    return net.double(), nn.Linear(6, 5).double()


def alignment(net: nn.Module, guide: nn.Module) -> Work:
    def forward(batch: Batch) -> Sequence[Tensor]:
        with torch.no_grad():
            wanted = guide(*batch.inputs)
        return net(*batch.inputs), wanted

    def loss(outputs: Sequence[Tensor], batch: Batch) -> Losses:
        value = tap_losses(outputs[:1], outputs[1:], Cka())
        return value.mean(), {"tap": 1 - value[0].detach()}

    return Work(batch=batch_of, forward=forward, loss=loss, modules=[net], is_mean=False)


def classification(net: nn.Module) -> Work:
    def loss(outputs: Sequence[Tensor], batch: Batch) -> Losses:
        value = functional.cross_entropy(outputs[0], batch.labels)
        return value, {"loss": value.detach()}

    return Work(
        batch=batch_of, forward=lambda batch: [net(*batch.inputs)], loss=loss, modules=[net], is_mean=True
    )


def gradients(work: Work, net: nn.Module, pieces: int) -> tuple[Mapping[str, Tensor], float, float]:
    """Of every parameter; the loss; the first named value."""
    net.zero_grad()
    torch.manual_seed(11)
    outcome = add_gradients(work, 2, Compute(), pieces=pieces, device=CPU)
    assert outcome.samples == 7
    assert not outcome.loss.requires_grad
    return (
        {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None},
        float(outcome.loss),
        float(next(iter(outcome.values.values()))),
    )


@pytest.mark.parametrize("pieces", [2, 3, 7, 50])
@pytest.mark.parametrize("kind", ["alignment", "classification"])
def test_pieces_give_the_gradient_of_the_whole_batch(kind: str, pieces: int) -> None:
    net, guide = nets()
    net[2].p = 0.0  # else other units are dropped
    work = alignment(net, guide) if kind == "alignment" else classification(net)
    whole, loss, value = gradients(work, net, 1)
    found, same_loss, same_value = gradients(work, net, pieces)
    assert len(whole) == 4
    for name, gradient in whole.items():
        assert gradient.abs().max() > 1e-6
        torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-12)
    assert (same_loss, same_value) == pytest.approx((loss, value), rel=1e-10)


def test_pieces_differ_by_one_sample_at_most_and_none_is_empty() -> None:
    parts = split(batch_of(0), 4)
    assert [len(part.labels) for part in parts] == [2, 2, 2, 1]
    assert torch.equal(torch.cat([part.inputs[0] for part in parts]), batch_of(0).inputs[0])
    assert torch.equal(torch.cat([part.labels for part in parts]), batch_of(0).labels)
    assert [len(part.labels) for part in split(batch_of(0), 99)] == [1] * 7


def test_bfloat16_is_that_of_the_forward_pass_alone() -> None:
    net, guide = (module.float() for module in nets())
    seen: list[torch.dtype] = []
    plain = alignment(net, guide)

    def forward(batch: Batch) -> Sequence[Tensor]:
        outputs = plain.forward(Batch(inputs=(batch.inputs[0].float(),), labels=batch.labels))
        seen.extend(x.dtype for x in outputs)
        return outputs

    def loss(outputs: Sequence[Tensor], batch: Batch) -> Losses:
        assert not torch.is_autocast_enabled("cpu")
        return plain.loss(outputs, batch)

    work = Work(batch=batch_of, forward=forward, loss=loss, modules=[net], is_mean=False)
    found: dict[int, list[Tensor]] = {}
    for pieces in (1, 3):
        net.zero_grad()
        net[2].p = 0.0
        outcome = add_gradients(work, 0, Compute(precision="bf16"), pieces=pieces, device=CPU)
        assert outcome.loss.dtype == torch.float64
        found[pieces] = [p.grad for p in net.parameters() if p.grad is not None]
        assert {p.dtype for p in found[pieces]} == {torch.float32}
    assert set(seen) == {torch.bfloat16}
    for one, other in zip(found[1], found[3], strict=True):
        torch.testing.assert_close(one, other, rtol=2e-2, atol=1e-3)


class Block(nn.Module):
    """A convolution with everything that a second forward pass could disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.3)

    def forward(self, x: Tensor, *, scale: float = 1.0) -> Tensor:
        return x + scale * self.drop(self.bn(self.conv(x)).relu())


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 1)
        self.blocks = nn.ModuleList(Block() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, block in enumerate(self.blocks):
            x = block(x, scale=i + 1)
        return x


def test_activations_that_are_computed_again_change_no_gradient_and_no_statistic() -> None:
    torch.manual_seed(0)
    net = Net()
    other = copy.deepcopy(net)
    x = torch.randn(4, 3, 5, 5)
    kept: list[int] = []
    for model, chosen in ((net, []), (other, blocks(other))):
        saved: list[Tensor] = []

        def pack(tensor: Tensor, into: list[Tensor] = saved) -> Tensor:
            into.append(tensor)
            return tensor

        torch.manual_seed(1)
        with recomputed(chosen):
            for _ in range(2):
                with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                    loss = model(x).square().mean()
                kept.append(len(saved))
                loss.backward()
    assert kept[3] < kept[1]
    for one, same in zip(net.parameters(), other.parameters(), strict=True):
        assert one.grad is not None
        assert same.grad is not None
        assert torch.equal(one.grad, same.grad)
    for name, buffer in net.named_buffers():
        assert torch.equal(buffer, other.get_buffer(name)), name
    assert float(other.blocks[0].bn.num_batches_tracked) == 2
    assert list(net.state_dict()) == list(other.state_dict())


def test_a_module_is_itself_again_afterwards() -> None:
    net = Net()
    with pytest.raises(RuntimeError, match="stop"):
        stop_inside(net)
    assert all("forward" not in vars(module) for module in net.modules())


def stop_inside(net: Net) -> None:
    with recomputed(blocks(net)):
        assert "forward" in vars(net.blocks[0])
        raise RuntimeError("stop")


def test_blocks_are_the_outermost_modules_of_containers() -> None:
    net = resnet18()
    names = {id(module): name for name, module in net.named_modules()}
    assert [names[id(block)] for block in blocks(net)] == [
        f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)
    ]
    assert [type(block).__name__ for block in blocks(Block())] == ["Conv2d", "BatchNorm2d"]


def test_out_of_memory_means_twice_as_many_pieces() -> None:
    tried: list[int] = []
    said: list[str] = []

    def attempt(pieces: int) -> str:
        tried.append(pieces)
        if pieces < 6:
            raise torch.OutOfMemoryError("too large")
        return "done"

    assert in_memory(attempt, 1, most=6, title="stage 1", say=said.append) == ("done", 6)
    assert tried == [1, 2, 4, 6]
    assert said[-1] == "stage 1: out of memory, so that a batch goes through in 6 pieces from now on"
    with pytest.raises(Rejected) as caught:
        in_memory(attempt, 1, most=5, title="stage 1", say=said.append)
    assert caught.value.diagnostics[0].code == "THX803"
    assert tried[4:] == [1, 2, 4, 5]
    with pytest.raises(RuntimeError, match="other"):
        in_memory(other_error, 1, most=5, title="stage 1", say=said.append)


def other_error(pieces: int) -> str:
    raise RuntimeError("other")


def aligned(folder: Path) -> list[dict[str, float]]:
    return [line for line in metrics(folder) if line.get("phase") == "align"]


def test_a_run_in_pieces_has_the_numbers_of_one_that_is_not(tmp_path: Path) -> None:
    run(spec("lr = 1e-3  for = 4 steps"), tmp_path / "whole")
    run(spec("lr = 1e-3  for = 4 steps  accumulate = 5"), tmp_path / "pieces")
    whole, pieces = aligned(tmp_path / "whole"), aligned(tmp_path / "pieces")
    assert len(whole) == len(pieces) == 12
    for one, other in zip(whole, pieces, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], abs=1e-5)
        assert other["conv[1]"] == pytest.approx(one["conv[1]"], abs=1e-5)


def test_checkpointing_changes_no_number(tmp_path: Path) -> None:
    tune = "lr = 1e-3  for = 3 steps"
    run(spec("lr = 1e-3  for = 2 steps", finetune=tune), tmp_path / "plain")
    saving = spec("lr = 1e-3  for = 2 steps  checkpointing = true", finetune=f"{tune}  checkpointing = true")
    run(saving, tmp_path / "saving")
    assert_same_run(tmp_path / "plain", tmp_path / "saving")


def test_memory_that_runs_out_is_found_in_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def scarce(work: Work, step: int, compute: Compute, *, pieces: int, device: torch.device) -> object:
        tried.append(pieces)
        if pieces < 4:
            raise torch.OutOfMemoryError("too large")
        return add_gradients(work, step, compute, pieces=pieces, device=device)

    run(spec("lr = 1e-3  for = 2 steps  accumulate = 4"), tmp_path / "pieces")
    with monkeypatch.context() as patched:
        patched.setattr("theseus_fx.run.training.add_gradients", scarce)
        run(spec("lr = 1e-3  for = 2 steps"), tmp_path / "scarce")
    assert tried[:5] == [1, 2, 4, 4, 1]  # each stage finds out for itself
    assert aligned(tmp_path / "pieces") == aligned(tmp_path / "scarce")


def test_killed_and_resumed_equals_never_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = spec(
        "lr = 1e-3  for = 3 steps  accumulate = 2  precision = bf16  "
        "stage 2 { accumulate = 1  precision = f32 }",
        finetune="lr = 1e-3  for = 4 steps  accumulate = 3  precision = bf16  checkpointing = true",
    )
    run(text, tmp_path / "whole")
    assert run_broken(text, tmp_path / "broken", monkeypatch, every=5) >= 3
    assert_same_run(tmp_path / "whole", tmp_path / "broken")
