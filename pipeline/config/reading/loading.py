"""Reads a YAML file and KEY=VALUE overrides into a validated configuration, or one error that names every bad key.

load("configs/demo.yaml", ["rollout.policy.n=16"])
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from berry.pipeline.errors import ConfigError

M = TypeVar("M", bound=BaseModel)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's reads eight times as fast


@typing.runtime_checkable
class ExtendableUnion(typing.Protocol):
    """Marks, inside Annotated, a union to which other packages add members."""

    def models(self) -> Sequence[type[BaseModel]]:
        """The members that were added."""
        ...


def load(path: str | Path, overrides: Sequence[str], model: type[M]) -> M:
    """Reads `path`, applies `overrides`, validates against `model`. Relative paths inside the file are relative to
    the file's folder. Raises ConfigError."""
    path = Path(path)
    raw = read_yaml(path)
    for override in overrides:
        apply_override(raw, override)
    if "name" in model.model_fields:
        raw.setdefault("name", path.stem)
    return validate(raw, model, where=str(path), base=path.resolve().parent)


def parse_yaml(text: str | bytes) -> Any:
    """Reads plain data from YAML. Raises yaml.YAMLError."""
    try:
        return yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError:
        return yaml.safe_load(text)  # raises, and names the line where the fault is rather than the end of the file


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads the mapping in a YAML file. Raises ConfigError naming file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror}); give the path of a YAML config") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    try:
        raw = parse_yaml(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: is not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML: {error}") from error
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: must be a mapping of keys, got a {type(raw).__name__}")
    return raw


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Sets one dotted key in place: `rollout.policy.n=16`, `problems.0.count=4`. The value is YAML."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override {override!r}: write KEY=VALUE, for example rollout.policy.n=16")
    try:
        value = parse_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not valid YAML; quote it") from error
    *parents, last = key.split(".")
    target: Any = raw
    for part in parents:
        if isinstance(target, list):
            target = target[_index(override, part, len(target))]
        else:
            target = target.setdefault(part, {})
        if not isinstance(target, (dict, list)):
            raise ConfigError(f"override {override!r}: {part} holds the value {target!r}, it has no keys below it")
    if isinstance(target, list):
        target[_index(override, last, len(target))] = value
    else:
        target[last] = value


def _index(override: str, part: str, length: int) -> int:
    if not part.isdigit() or int(part) >= length:
        raise ConfigError(f"override {override!r}: {part!r} is not an index into a list of {length}")
    return int(part)


def validate(raw: dict[str, Any], model: type[M], *, where: str, base: Path | None = None) -> M:
    """Parses `raw` into `model`. Raises ConfigError with a line for each wrong key; `where` names the source in it.
    `base` is the folder that relative names in it start from."""
    try:
        return model.model_validate(raw, context={"base": base})
    except ValidationError as error:
        lines = [explain(detail, model) for detail in error.errors()]
        raise ConfigError("\n".join(f"{where}: {line}" for line in dict.fromkeys(lines))) from error


def explain(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """Puts one validation error into the user's words: key, value, what is wanted, the nearest known key."""
    loc = detail["loc"]
    known, key = _walk(model, loc)
    value = _short(detail["input"])
    match detail["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            return f"{key} is not a known key{hint} (known here: {', '.join(sorted(known))})"
        case "missing":
            return f"{key} is missing: give it a value"
        case "union_tag_invalid":
            context = detail.get("ctx", {})
            tag = str(context.get("tag"))
            choices = str(context.get("expected_tags")).replace("'", "").split(", ")
            near = difflib.get_close_matches(tag, choices, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            return f"{key}.type must be one of {', '.join(choices)}, got {tag!r}{hint}"
        case "union_tag_not_found":
            return f"{key}.type is missing: it says which kind this is"
        case _:
            message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
            return f"{key} {message}, got {value}" if key else message


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _walk(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[list[str], str]:
    """Follows an error's location through the models, leaving out the union tags that pydantic puts into it.
    Returns the keys known where the last part stands, and the dotted key."""
    here: list[Any] = [model]
    known: list[str] = []
    shown: list[str] = []
    named = False  # whether the next part may be a key of the user's own
    for part in loc:
        models = [m for m in here if isinstance(m, type) and issubclass(m, BaseModel)]
        looked_up = next((m.__dict__["by_type"] for m in models if "by_type" in m.__dict__), None)
        if looked_up is not None and part in looked_up.names():
            here = [looked_up.get(str(part)).config]
            continue
        tagged = [m for m in models if _tag(m) == part]
        if isinstance(part, str) and tagged and len(models) > 1:
            here = list(tagged)
            continue
        known = sorted({_name(n, f) for m in models for n, f in m.model_fields.items()})
        shown.append(str(part))
        if isinstance(part, int):
            continue
        fields = [f for m in models for n, f in m.model_fields.items() if _name(n, f) == part]
        if not fields and named:  # a name that the user chose
            named = False
            continue
        named = any(typing.get_origin(f.annotation) is dict for f in fields)
        here = [leaf for f in fields for leaf in _leaves(f.annotation)]
    return known, ".".join(shown)


def _name(name: str, field: Any) -> str:
    return field.alias or name


def _tag(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("type")
    return field.default if field is not None else None


def _leaves(annotation: Any) -> list[Any]:
    """The model classes inside an annotation: through Annotated, unions, optionals and containers."""
    origin = typing.get_origin(annotation)
    if origin is None:
        return [annotation]
    if origin in (types.UnionType, typing.Union) or origin in (tuple, list, dict, typing.Annotated):
        arguments = typing.get_args(annotation)
        if origin is typing.Annotated:
            arguments = (
                arguments[0],
                *(m for a in arguments[1:] if isinstance(a, ExtendableUnion) for m in a.models()),
            )
        return [leaf for a in arguments for leaf in _leaves(a)]
    return [annotation]
