"""The Python interface: plan, convert, load. The command line calls the same functions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from theseus_fx.data.cache import default_cache
from theseus_fx.data.inputs import guide_inputs
from theseus_fx.data.own_task import open_task
from theseus_fx.data.registry import (
    check_declared,
    declared_batch,
    declared_classes,
    declared_task,
    open_source,
)
from theseus_fx.data.source import DataSource
from theseus_fx.data.tasks import check_classes, check_kind, check_vocabulary
from theseus_fx.lang import loader
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.source import Source
from theseus_fx.lang.spec import Spec
from theseus_fx.models.from_python import Trust, trusting
from theseus_fx.models.resolve import build, notes
from theseus_fx.planning.plan import Plan
from theseus_fx.planning.planner import make_plan
from theseus_fx.planning.saved import check_same, check_spec, read_plan
from theseus_fx.run import environment
from theseus_fx.run.conversion import Conversion, begin, carry_out, check_unchanged
from theseus_fx.run.events import Observer, Silent
from theseus_fx.run.export import load_model
from theseus_fx.run.folder import create, first_free, locked, read_json
from theseus_fx.run.interrupt import StopRequest, stop_on_interrupt
from theseus_fx.run.samples import check_samples
from theseus_fx.run.session import Session

Device = Literal["auto", "cpu", "cuda"]


def plan(
    spec: str | Path,
    *,
    model: nn.Module | None = None,
    data: DataSource | None = None,
    set: Mapping[str, str] | None = None,  # noqa: A002 - the command line's word
    trust: Trust = False,
) -> Plan:
    """Compiles a spec against its guide; reads no weights and no data, needs no network.

    Args:
        spec: the path of a `.thx` file, or its text (any str with a line break in it).
        model: the guide, where it is an object of yours; takes the place of the spec's `guide`. It is not
            changed, and may be on the meta device.
        data: a data source of yours, which declares the inputs where the spec has no `data` and no `input`.
        set: values for params of the spec, as text.
        trust: whether Python files that the spec names (`python("models.py").MyNet`) may be run; a function
            is asked with the source of each.

    Raises:
        Rejected: every mistake of the first phase that has one; `error.diagnostics` are values.
    """
    with trusting(trust):
        return _compile(_read(spec, set or {}, guide_required=model is None), model, data, set or {})


def convert(
    model: nn.Module | None,
    spec: str | Path,
    *,
    data: DataSource | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: Device = "auto",
    set: Mapping[str, str] | None = None,  # noqa: A002
    observer: Observer | None = None,
    cache: Path | None = None,
    trust: Trust = False,
) -> Conversion:
    """Plans and runs a conversion: the same as `theseus-fx run`.

    Args:
        model: the guide, where it is an object of yours; it is copied, not changed. None: the spec's.
        spec: path or text, as for `plan`.
        data: a data source of yours; None: the spec's.
        out: an empty or new folder for the run; None: the first free one of `runs/NAME`, `runs/NAME-2`, ...
        seed: of everything random.
        device: `auto` takes CUDA where there is one.
        set: values for params of the spec, as text.
        observer: watches the run.
        cache: where guides trained by a spec are kept; None: `theseus_fx.data.cache.default_cache()`.
        trust: as for `plan`.

    Returns:
        The converted model, the summary and the run folder.

    Raises:
        Rejected: whatever is wrong with spec, model, data or files.
        Interrupted: Ctrl-C; `resume` goes on.
    """
    made = plan(spec, model=model, data=data, set=set, trust=trust)
    return run_plan(
        made,
        model=model,
        data=data,
        out=out,
        seed=seed,
        device=device,
        observer=observer,
        cache=cache,
        trust=trust,
    )


def run_plan(
    made: Plan,
    *,
    model: nn.Module | None = None,
    data: DataSource | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: Device = "auto",
    observer: Observer | None = None,
    cache: Path | None = None,
    trust: Trust = False,
) -> Conversion:
    """Carries out a plan in a new folder; arguments as for `convert`."""
    chosen = environment.choose_device(device)
    base = _folder_of(made.spec)
    source = data or _open(made.spec, base)
    check_samples(made, source)
    stem = "conversion" if made.spec.source.path is None else made.spec.source.path.stem
    folder = create(Path(out) if out is not None else first_free(Path("runs"), stem))
    session = _session(folder, chosen, seed, observer)
    options: dict[str, Any] = {
        "handed_over": {"model": model is not None, "data": data is not None},
        "data_folder": str(base),
        "assignments": dict(made.assignments),
        "threads": torch.get_num_threads(),
    }
    with locked(folder), trusting(trust):
        begin(made, session=session, source=source, options=options)
        return _carry_out(made, session, source, model, cache, threads=options["threads"])


def resume(
    folder: str | Path,
    *,
    model: nn.Module | None = None,
    data: DataSource | None = None,
    observer: Observer | None = None,
    cache: Path | None = None,
    trust: Trust = False,
) -> Conversion:
    """Goes on with a run that was stopped or killed; a finished one gives its result again.

    Args:
        folder: of the run.
        model: the guide, where the run was given one as an object.
        data: the data source, where the run was given one as an object.
        observer: watches the run.
        cache: as for `convert`.
        trust: as for `plan`; what is run is the text that the run folder has kept.

    Raises:
        Rejected: THX703 where there is no run, THX704 where spec, model, data or device have changed.
    """
    folder = Path(folder)
    run = read_json(folder / "run.json")
    _demand(folder, run["handed_over"], model, data)
    with trusting(trust):
        made = _compile(_kept_spec(folder, run, model), model, data, run["assignments"])
    device = environment.choose_device(run["device"])
    source = data or _open(made.spec, Path(run["data_folder"]))
    check_unchanged(made, folder=folder, source=source, device=device.type)
    session = _session(folder, device, run["seed"], observer)
    with locked(folder), trusting(trust):
        return _carry_out(made, session, source, model, cache, threads=run["threads"])


def load(folder: str | Path, *, guide: nn.Module | None = None, trust: Trust = False) -> nn.Module:
    """The converted model of a finished run: an ordinary `nn.Module`, on the CPU, in eval mode.

    Args:
        folder: of the run.
        guide: the guide's architecture, where the run was given one as an object.
        trust: whether code of the spec's own Python files, kept in the folder, may be run.

    Raises:
        Rejected: THX308, THX703, THX704.
    """
    with trusting(trust):
        return load_model(Path(folder), guide=guide)


def kept_code(folder: str | Path) -> tuple[Source, ...]:
    """The Python files that a run has kept, which `resume` would run; none of them is run here.

    Raises:
        Rejected: THX703 where there is no run.
    """
    folder = Path(folder)
    read_json(folder / "run.json")
    begun = read_json(folder / "plan.json")
    files = [(file["path"], file["text"]) for file in begun["spec"]["files"]]
    kept = loader.reload(files, assignments=begun["spec"]["assignments"], guide_required=False)
    return tuple(kept.code.values())


def open_plan(path: str | Path, *, trust: Trust = False) -> Plan:
    """A saved plan, made again from the same spec and model and found equal.

    Args:
        path: of the JSON.
        trust: as for `plan`.

    Raises:
        Rejected: THX506 where it is no plan, THX505 where spec or model have changed since.
    """
    path = Path(path)
    saved = read_plan(path)
    check_spec(path, saved)
    assignments: dict[str, str] = saved["spec"]["assignments"]
    made = plan(Path(saved["spec"]["path"]), set=assignments, trust=trust)
    check_same(path, saved, made)
    return made


def _read(spec: str | Path, assignments: Mapping[str, str], *, guide_required: bool) -> Spec:
    if isinstance(spec, str) and "\n" in spec:
        return loader.loads(spec, folder=Path.cwd(), assignments=assignments, guide_required=guide_required)
    return loader.load(spec, assignments=assignments, guide_required=guide_required)


def _compile(
    spec: Spec, model: nn.Module | None, data: DataSource | None, assignments: Mapping[str, str]
) -> Plan:
    if data is None and spec.data is not None:
        check_declared(spec.data)
        check_kind(spec.task, declared_task(spec.data), spec.data.name)
        check_classes(spec.task, declared_classes(spec.data))
    if spec.task is not None and spec.task.call is not None:
        open_task(spec.task.call)  # its mistakes are told before anything is trained
    known: tuple[str, ...] = ()
    if model is not None:
        name, net = type(model).__name__, model
    elif spec.guide is not None:
        known = notes(spec.guide.model)
        name, net = spec.guide.model.name, build(spec.guide.model, device=torch.device("meta"), weights=False)
    else:
        raise ValueError("the loader accepts a spec without a guide only where one is handed over")
    target = None
    if spec.target is not None:
        known += tuple(note for note in notes(spec.target.model) if note not in known)
        target = build(spec.target.model, device=torch.device("meta"), weights=False)
    batch = data.batch_size if data else declared_batch(spec.data) if spec.data else None
    made = make_plan(
        spec,
        net,
        guide=name,
        target=target,
        inputs=guide_inputs(spec, net, data),
        batch_size=batch,
        assignments=assignments,
        notes=known,
    )
    if data is None and spec.data is not None and declared_task(spec.data) == "language_modelling":
        check_vocabulary(spec.task, declared_classes(spec.data), made.trace.value(made.trace.output).shape)
    return made


def _open(spec: Spec, folder: Path) -> DataSource:
    if spec.data is None:
        raise Rejected(
            Diagnostic(
                code="THX207",
                message="a run needs data, and the spec has none",
                primary=Label(spec.schedule.span, "trains on it"),
                help=('write `data = imagefolder("path", size = 224, batch = 256)`',),
            )
        )
    return open_source(spec.data, folder=folder)


def _folder_of(spec: Spec) -> Path:
    """What relative paths in a spec are relative to."""
    return Path.cwd() if spec.source.path is None else spec.source.path.parent


def _session(folder: Path, device: torch.device, seed: int, observer: Observer | None) -> Session:
    return Session(folder=folder, device=device, seed=seed, observer=observer or Silent(), stop=StopRequest())


def _carry_out(
    made: Plan,
    session: Session,
    source: DataSource,
    model: nn.Module | None,
    cache: Path | None,
    *,
    threads: int,
) -> Conversion:
    devices = [session.device] if session.device.type == "cuda" else []
    session.observer.say(f"run folder: {session.folder}")
    with (
        stop_on_interrupt(session.stop),
        environment.deterministic(session.device, threads=threads),
        torch.random.fork_rng(devices=devices),
    ):
        return carry_out(made, session=session, source=source, model=model, cache=cache or default_cache())


def _kept_spec(folder: Path, run: Mapping[str, object], model: nn.Module | None) -> Spec:
    """The spec as the run began with it, from the run's own copies."""
    begun = read_json(folder / "plan.json")
    return loader.reload(
        [(file["path"], file["text"]) for file in begun["spec"]["files"]],
        assignments=begun["spec"]["assignments"],
        guide_required=model is None,
    )


def _demand(
    folder: Path, handed_over: Mapping[str, bool], model: nn.Module | None, data: DataSource | None
) -> None:
    """Objects that the run was given have to be given again."""
    missing = [
        name for name, value in (("model", model), ("data", data)) if handed_over[name] and value is None
    ]
    if missing:
        raise Rejected(
            Diagnostic(
                code="THX704",
                message=f"{folder} was given its {' and '.join(missing)} as an object",
                help=(f"resume it in Python: `theseus_fx.resume(folder, {missing[0]} = ...)`",),
            )
        )
