"""The guide with its weights: pretrained, untrained, handed over, or trained first and cached by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from theseus_fx.data.order import stable_seed
from theseus_fx.data.source import DataSource, Split
from theseus_fx.data.tasks import Objective
from theseus_fx.graph.fingerprint import fingerprint
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import Training
from theseus_fx.models.resolve import build
from theseus_fx.planning.plan import Plan
from theseus_fx.run.finetune import task_phase
from theseus_fx.run.folder import read_json, write_bytes, write_json
from theseus_fx.run.job import Job
from theseus_fx.run.rates import steps_of
from theseus_fx.run.session import Result, Session, Stopwatch, Unit
from theseus_fx.run.training import PhaseState, train


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedGuide:
    """The frozen source network of a run."""

    model: nn.Module
    """On the device, in eval mode, without gradients."""
    validation: float
    test: float
    """The metric that judges."""
    details: Mapping[str, float]
    """Every metric of the task on the test split."""
    steps: int
    """Gradient steps that this spec took to train it; 0 for one that came trained, or untrained."""
    seconds: float
    """What training it took, when it was trained."""


def prepare_guide(
    plan: Plan,
    *,
    session: Session,
    source: DataSource,
    task: Objective,
    model: nn.Module | None,
    cache: Path | None,
) -> PreparedGuide:
    """The guide of a plan, trained first where the spec says so.

    Args:
        plan: the plan.
        session: the run; the guide is its unit `guide`.
        source: the data.
        task: what it is trained and judged on.
        model: a guide that the caller hands over, used as it is; it is copied, not changed.
        cache: where trained guides are kept for other runs, or None.
    """
    unit = session.unit("guide")
    net = _fresh(plan, session) if model is None else _copied(model, session.device)
    if (done := unit.finished()) is not None:
        net.load_state_dict(dict(done.tensors))
        return _frozen(net, done.facts)
    training = plan.spec.guide.training if plan.spec.guide is not None and model is None else None
    path = None
    if cache is not None and training is not None:
        path = cache / "guides" / _content_key(plan, training, session, source, task)
        if (cached := _from_cache(path, session)) is not None:
            net.load_state_dict(dict(cached.tensors))
            session.observer.say(f"the trained guide comes from the cache ({path})")
            unit.finish(cached.facts, cached.tensors)
            return _frozen(net, cached.facts)
    job = Job(plan=plan, session=session, source=source, task=task, guide=net)
    steps, seconds = (0, 0.0) if training is None else _train(unit, job, training)
    net.eval().requires_grad_(False)
    test = job.judge(net, Split.TEST)
    facts = {
        "validation": job.evaluate(net, Split.VALIDATION),
        "test": test.value,
        "details": dict(test.details),
        "steps": steps,
        "seconds": seconds,
    }
    result = unit.finish(facts, net.state_dict())
    if path is not None:
        _to_cache(path, result, session)
    return _frozen(net, facts)


def _fresh(plan: Plan, session: Session) -> nn.Module:
    """The guide that the spec names, with the weights it asks for; random ones come from the run's seed."""
    if plan.spec.guide is None:
        raise ValueError("the spec has no guide and none was handed over")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stable_seed(session.seed, "guide"))
        net = build(plan.spec.guide.model, device=session.device, weights=True)
    if not _is_planned(plan, net):
        raise Rejected(
            Diagnostic(
                code="THX505",
                message=f"`{plan.guide}` with its weights is another network than the one that was planned",
                primary=Label(plan.spec.guide.span, "its parameters have other shapes or settings"),
                help=("plan again now that its configuration is on this machine",),
            )
        )
    return net


def _is_planned(plan: Plan, net: nn.Module) -> bool:
    """Whether the guide with weights is the one that was planned: a hub may have another configuration."""
    try:
        return fingerprint(plan.trace, net) == plan.model_fingerprint
    except AttributeError:  # a module of the plan is not there
        return False


def _copied(model: nn.Module, device: torch.device) -> nn.Module:
    import copy

    return copy.deepcopy(model).to(device).eval()


def _train(unit: Unit, job: Job, training: Training) -> tuple[int, float]:
    (peak,) = training.lr.candidates
    if peak is None:
        return 0, 0.0
    steps = steps_of(training.budget, job.source.steps_per_epoch)
    kept = unit.resume()
    watch = Stopwatch(before=0.0 if kept is None else kept["seconds"])
    state = PhaseState()
    if kept is not None:
        job.guide.load_state_dict(kept["model"])
        state = PhaseState(**kept["phase"])

    def keep(at: PhaseState) -> None:
        unit.keep(
            at.step,
            {
                "model": job.guide.state_dict(),
                "phase": at.kept(),
                "seconds": watch.seconds,
            },
        )

    phase = task_phase(
        job, job.guide, training, peak=peak, steps=steps, title="training the guide", stream="guide"
    )
    train(unit, phase, state, keep)
    job.session.observer.end("training the guide", f"{steps} steps")
    return steps, watch.seconds


def _frozen(net: nn.Module, facts: Mapping[str, Any]) -> PreparedGuide:
    return PreparedGuide(
        model=net.eval().requires_grad_(False),
        validation=facts["validation"],
        test=facts["test"],
        details=facts["details"],
        steps=facts["steps"],
        seconds=facts["seconds"],
    )


def _content_key(
    plan: Plan, training: Training, session: Session, source: DataSource, task: Objective
) -> str:
    """Equal for guides that training would make equal: model, settings, data, task, seed, device, torch."""
    content = {
        "model": plan.model_fingerprint,
        "training": plan.as_json()["guide"]["trained_by"],
        "data": source.fingerprint(),
        "batch": source.batch_size,
        "task": task.identity,
        "seed": session.seed,
        "device": session.device.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "loss": [term.kind for term in training.loss],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _from_cache(path: Path, session: Session) -> Result | None:
    if not (path / "facts.json").exists():
        return None
    tensors: dict[str, Tensor] = load((path / "state.safetensors").read_bytes())
    return Result(
        facts=read_json(path / "facts.json"), tensors={k: v.to(session.device) for k, v in tensors.items()}
    )


def _to_cache(path: Path, result: Result, session: Session) -> None:
    """A cache that cannot be written costs the next run time, and this one a line."""
    try:
        held = {k: v.detach().contiguous().cpu().clone() for k, v in result.tensors.items()}
        write_bytes(path / "state.safetensors", save(held))
        write_json(path / "facts.json", dict(result.facts))
    except Rejected as rejected:
        session.observer.say(f"the trained guide was not cached: {rejected}")
