"""Finds export formats by name: Berry's own, and those that installed packages bring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from berry.pipeline.errors import ConfigError, InputError
from berry.pipeline.extensions import Registry
from berry.pipeline.stages.export.base import ExportFormat, Layout

F = TypeVar("F", bound=ExportFormat)
_EXPORT = "berry.pipeline.stages.export.formats"


def _check(_name: str, form: ExportFormat) -> str | None:
    if not isinstance(form, ExportFormat):
        return f"it must be a {ExportFormat.__module__}.{ExportFormat.__name__}, got {type(form).__name__}"
    return None if form.layouts else "it has no layout for any trainer"


EXPORTS: Registry[ExportFormat] = Registry(
    "berry.exports",
    {
        "sft": f"{_EXPORT}.sft:SFT",
        "dpo": f"{_EXPORT}.dpo:DPO",
        "pairs": f"{_EXPORT}.pairs:PAIRS",
        "orm": f"{_EXPORT}.orm:ORM",
        "prm": f"{_EXPORT}.prm:PRM",
        "rl": f"{_EXPORT}.rl:RL",
        "tree": f"{_EXPORT}.tree:TREE",
    },
    _check,
)
"""Export formats by name; packages announce theirs as entry points `berry.exports`."""


def register_export(name: str, form: F) -> F:
    """Add an export format under `name`, for this process. Raises ConfigError where the name is taken, or `form` can't
    be used."""
    EXPORTS.add(name, form)
    return form


def formats() -> Sequence[str]:
    """The names of all formats: Berry's own, then other packages'."""
    return EXPORTS.names()


def export_format(name: str) -> ExportFormat:
    """Raises InputError that lists what there is."""
    try:
        return EXPORTS.get(name)
    except ConfigError as error:
        raise InputError(f"--format: {error}") from error


def trainer_of(name: str, trainer: str | None) -> str:
    """The trainer that is asked for, else the format's first. Raises InputError that says who has a layout."""
    form = export_format(name)
    if trainer is None:
        return next(iter(form.layouts))
    if trainer not in form.layouts:
        raise InputError(f"{trainer} has no trainer that reads {name}; these have: {', '.join(form.layouts)}")
    return trainer


def layout_of(name: str, trainer: str | None, *, tokens: bool = False) -> Layout:
    """The layout of a format for a trainer (None: its first), or of its sampled token ids. Raises InputError that says
    who has one."""
    form = export_format(name)
    if tokens:
        if form.tokens is None:
            able = ", ".join(n for n in formats() if EXPORTS.get(n).tokens is not None)
            raise InputError(f"--tokens: {name} has no layout of token ids; these have: {able}")
        return form.tokens
    return form.layouts[trainer_of(name, trainer)]
