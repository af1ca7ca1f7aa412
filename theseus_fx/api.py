"""The Python interface: plan, convert, load. The command line calls the same functions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from theseus_fx.data.registry import declared_batch, declared_classes, declared_inputs, open_source
from theseus_fx.data.source import DataSource
from theseus_fx.data.tasks import check_classes
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang import loader
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import Spec
from theseus_fx.models.resolve import build
from theseus_fx.planning.plan import Plan
from theseus_fx.planning.planner import make_plan, spec_inputs
from theseus_fx.planning.saved import check_same, check_spec, read_plan
from theseus_fx.run import environment
from theseus_fx.run.conversion import Conversion, begin, carry_out, check_unchanged
from theseus_fx.run.events import Observer, Silent
from theseus_fx.run.export import load_model
from theseus_fx.run.folder import create, first_free, locked, read_json
from theseus_fx.run.guide import default_cache
from theseus_fx.run.interrupt import StopRequest, stop_on_interrupt
from theseus_fx.run.regions import refuse_regions
from theseus_fx.run.session import Session

Device = Literal["auto", "cpu", "cuda"]


def plan(
    spec: str | Path,
    *,
    model: nn.Module | None = None,
    data: DataSource | None = None,
    set: Mapping[str, str] | None = None,  # noqa: A002 - the command line's word
) -> Plan:
    """Compiles a spec against its guide; reads no weights and no data, needs no network.

    Args:
        spec: the path of a `.thx` file, or its text (any str with a line break in it).
        model: the guide, where it is an object of yours; takes the place of the spec's `guide`. It is not
            changed, and may be on the meta device.
        data: a data source of yours, which declares the inputs where the spec has no `data` and no `input`.
        set: values for params of the spec, as text.

    Raises:
        Rejected: every mistake of the first phase that has one; `error.diagnostics` are values.
    """
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
        cache: where guides trained by a spec are kept; None: `theseus_fx.run.guide.default_cache()`.

    Returns:
        The converted model, the summary and the run folder.

    Raises:
        Rejected: whatever is wrong with spec, model, data or files.
        Interrupted: Ctrl-C; `resume` goes on.
    """
    made = plan(spec, model=model, data=data, set=set)
    return run_plan(
        made, model=model, data=data, out=out, seed=seed, device=device, observer=observer, cache=cache
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
) -> Conversion:
    """Carries out a plan in a new folder; arguments as for `convert`."""
    refuse_regions(made)
    chosen = environment.choose_device(device)
    base = _folder_of(made.spec)
    source = data or _open(made.spec, base)
    stem = "conversion" if made.spec.source.path is None else made.spec.source.path.stem
    folder = create(Path(out) if out is not None else first_free(Path("runs"), stem))
    session = _session(folder, chosen, seed, observer)
    options: dict[str, Any] = {
        "handed_over": {"model": model is not None, "data": data is not None},
        "data_folder": str(base),
        "assignments": dict(made.assignments),
        "threads": torch.get_num_threads(),
    }
    with locked(folder):
        begin(made, session=session, source=source, options=options)
        return _carry_out(made, session, source, model, cache, threads=options["threads"])


def resume(
    folder: str | Path,
    *,
    model: nn.Module | None = None,
    data: DataSource | None = None,
    observer: Observer | None = None,
    cache: Path | None = None,
) -> Conversion:
    """Goes on with a run that was stopped or killed; a finished one gives its result again.

    Args:
        folder: of the run.
        model: the guide, where the run was given one as an object.
        data: the data source, where the run was given one as an object.
        observer: watches the run.
        cache: as for `convert`.

    Raises:
        Rejected: THX703 where there is no run, THX704 where spec, model, data or device have changed.
    """
    folder = Path(folder)
    run = read_json(folder / "run.json")
    _demand(folder, run["handed_over"], model, data)
    made = _compile(_kept_spec(folder, run, model), model, data, run["assignments"])
    device = environment.choose_device(run["device"])
    source = data or _open(made.spec, Path(run["data_folder"]))
    check_unchanged(made, folder=folder, source=source, device=device.type)
    session = _session(folder, device, run["seed"], observer)
    with locked(folder):
        return _carry_out(made, session, source, model, cache, threads=run["threads"])


def load(folder: str | Path, *, guide: nn.Module | None = None) -> nn.Module:
    """The converted model of a finished run: an ordinary `nn.Module`, on the CPU, in eval mode.

    Args:
        folder: of the run.
        guide: the guide's architecture, where the run was given one as an object.

    Raises:
        Rejected: THX703, THX704.
    """
    return load_model(Path(folder), guide=guide)


def open_plan(path: str | Path) -> Plan:
    """A saved plan, made again from the same spec and model and found equal.

    Raises:
        Rejected: THX506 where it is no plan, THX505 where spec or model have changed since.
    """
    path = Path(path)
    saved = read_plan(path)
    check_spec(path, saved)
    assignments: dict[str, str] = saved["spec"]["assignments"]
    made = plan(Path(saved["spec"]["path"]), set=assignments)
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
        check_classes(spec.task, declared_classes(spec.data))
    if model is not None:
        name, net = type(model).__name__, model
    elif spec.guide is not None:
        name, net = spec.guide.model.name, build(spec.guide.model, device=torch.device("meta"), weights=False)
    else:
        raise ValueError("the loader accepts a spec without a guide only where one is handed over")
    batch = data.batch_size if data else declared_batch(spec.data) if spec.data else None
    return make_plan(
        spec, net, guide=name, inputs=_inputs(spec, data), batch_size=batch, assignments=assignments
    )


def _inputs(spec: Spec, data: DataSource | None) -> tuple[InputSpec, ...]:
    """What the guide is traced on: declared by the spec, else by the data."""
    if spec.inputs:
        return spec_inputs(spec.inputs)
    if data is not None:
        return data.inputs
    if spec.data is not None:
        return declared_inputs(spec.data)
    raise Rejected(
        Diagnostic(
            code="THX207",
            message="nothing says what the guide's input looks like",
            primary=Label(spec.guide.span, "its input has no shape") if spec.guide else None,
            help=("write `input image: f32[batch, 3, 224, 224]`, or a `data` sentence",),
        )
    )


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
