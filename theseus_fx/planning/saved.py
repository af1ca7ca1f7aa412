"""Saved plans: what `--out` wrote, and whether it still describes the spec and the model that are there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.loader import read
from theseus_fx.planning.plan import SCHEMA, Plan


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The keys in which two plans differ; notes are words about a plan and no part of it."""
    keys = [key for key in {**now, **before} if key != "notes"]
    return [key for key in keys if key not in before or before[key] != now.get(key)]


def read_plan(path: Path) -> Mapping[str, Any]:
    """The JSON of a saved plan.

    Raises:
        Rejected: THX001 or THX002 where it cannot be read, THX506 where it is no plan of this schema.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Rejected(
            Diagnostic(
                code="THX001",
                message=f"there is no file {path}",
                help=("make one with `theseus-fx plan SPEC --out plan.json`",),
            )
        ) from error
    except OSError as error:
        raise Rejected(Diagnostic(code="THX002", message=f"cannot read {path}: {error.strerror}")) from error
    except ValueError as error:
        raise _not_a_plan(path, f"it is not JSON: {error}") from error
    if not isinstance(value, dict) or value.get("kind") != "theseus-fx plan":
        raise _not_a_plan(path, "its kind is not `theseus-fx plan`")
    if value.get("schema") != SCHEMA:
        raise _not_a_plan(path, f"its schema is {value.get('schema')}, this version reads {SCHEMA}")
    if not _names_its_files(value):
        raise _not_a_plan(path, "it does not say which spec files and which model it was made from")
    return value


def _names_its_files(value: Mapping[str, Any]) -> bool:
    """Whether a saved plan has what is needed to make it again."""
    match value:
        case {
            "spec": {"path": str(), "files": [_, *_] as files, "assignments": dict() as assignments},
            "guide": {"fingerprint": str()},
        }:
            named = all(_is_file(file) for file in files)
            return named and all(isinstance(text, str) for text in assignments.values())
        case _:
            return False


def _is_file(value: object) -> bool:
    match value:
        case {"path": str(), "sha256": str()}:
            return True
        case _:
            return False


def check_spec(path: Path, saved: Mapping[str, Any]) -> None:
    """Refuses a saved plan whose spec has changed since; the files that it uses are compared by `check_same`.

    Raises:
        Rejected: THX505 where the spec has changed or is gone.
    """
    spec = saved["spec"]["files"][0]
    try:
        source = read(Path(spec["path"]))
    except Rejected as rejected:
        raise _stale(path, f"{spec['path']} cannot be read any more") from rejected
    if source.sha256 != spec["sha256"]:
        raise _stale(path, f"{spec['path']} has changed")


def check_same(path: Path, saved: Mapping[str, Any], plan: Plan) -> None:
    """Refuses a saved plan that planning again does not reproduce.

    Raises:
        Rejected: THX505 naming the used files, the model or the parts of the plan that differ.
    """
    now = plan.as_json()
    before = {file["path"]: file["sha256"] for file in saved["spec"]["files"]}
    changed = [f["path"] for f in now["spec"]["files"] if before.get(f["path"]) != f["sha256"]]
    if changed:
        raise _stale(path, f"{', '.join(changed)} has changed")
    if saved["guide"]["fingerprint"] != now["guide"]["fingerprint"]:
        raise _stale(path, f"the model {now['guide']['model']} has changed")
    if others := differing(saved, now):
        raise _stale(path, f"planning again gives other {', '.join(others)}")


def _stale(path: Path, reason: str) -> Rejected:
    return Rejected(
        Diagnostic(
            code="THX505",
            message=f"{path} is stale: {reason}",
            help=(f"plan again: `theseus-fx plan SPEC --out {path}`",),
        )
    )


def _not_a_plan(path: Path, reason: str) -> Rejected:
    return Rejected(
        Diagnostic(
            code="THX506",
            message=f"{path} is not a plan: {reason}",
            help=("make one with `theseus-fx plan SPEC --out plan.json`",),
        )
    )
