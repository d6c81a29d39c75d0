"""Writes the reference of all configuration keys as Markdown: docs/configuration.md.

RunConfig, PlanConfig, Evaluation ─► sections (one a heading) ─► tables: key, values, default, unit, meaning

    python -m berry.pipeline.config.reference > docs/configuration.md
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import textwrap
import types
import typing
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from berry.pipeline.config.plan import PlanConfig
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.evaluation import Evaluation

HEAD = """# Configuration

Every key of a run's configuration (`berry run`, `berry variants`, `berry train`, `berry sweep`) and of a plan's
(`berry plan`). A file is YAML; single keys are changed on the command line, `berry run CONFIG rollout.policy.n=16`.
Relative paths in a file are relative to its folder; `storage.root` is relative to where the command is run. Where a key
takes one of several kinds, its `type` says which. This page is generated from the models:

```sh
python -m berry.pipeline.config.reference > docs/configuration.md
```
"""

# Unit by how a key's name ends; the longest ending counts.
UNITS = {
    "_s": "s",
    "_ms": "ms",
    "_tokens": "tokens",
    "tokens": "tokens",
    "tokens_per_s": "tokens/s",
    "tokens_per_s_user": "tokens/s",
    "_model_len": "tokens",
    "_gib": "GiB",
    "_mb": "MB",
    "_kb": "kB",
    "_gbps": "Gbit/s",
    "usd_per_hour": "US$/h",
    "_share": "share",
    "_rate": "share",
    "_ticks": "looks",
    "_scv": "variance / mean²",
    "cores": "cores",
    "cpus": "cores",
    "gpus": "GPUs",
    "slots": "slots",
    "_leaves": "trajectories",
    "_words": "words",
    "epochs": "passes",
}
LEFT_OUT = {"name": "the file's name", "cluster": "`local`"}  # required keys that a file may leave out all the same
NOT_SO = {"error_rate": "share a step", "repair_rate": "share a step", "learning_rate": "", "batch_size": "examples"}


def reference() -> str:
    """Writes docs/configuration.md: every key with its type, default and meaning."""
    places: dict[type[BaseModel], str] = {}
    parts = [HEAD]
    for heading, model in (("## A run", RunConfig), ("## A plan", PlanConfig), ("## An evaluation", Evaluation)):
        sections = list(_sections(model, "", places))
        parts += [heading, *(part for path, kind in sections for part in _section(kind, path, places))]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _sections(model: type[BaseModel], path: str, places: dict[type[BaseModel], str]) -> Iterator[tuple[str, type]]:
    """Every model with the dotted path it is first met at, in the order of the page; `places` learns them."""
    places[model] = path
    yield path, model
    for name, field in model.model_fields.items():
        for kind in _models(field.annotation):
            if kind not in places:
                yield from _sections(kind, path_of(path, name), places)


def _section(model: type[BaseModel], path: str, places: dict[type[BaseModel], str]) -> Iterator[str]:
    """Heading, summary and table of a model."""
    if path:
        tag = _tag(model)
        yield f"### `{path}`" + (f": type `{tag}`" if tag else "")
    yield _summary(model)
    meaning = meanings(model)
    rows = [
        _row(name, field, meaning.get(name, ""), path, places)
        for name, field in model.model_fields.items()
        if name != "type"
    ]
    if rows:
        yield "| key | values | default | unit | meaning |\n|---|---|---|---|---|\n" + "\n".join(rows)


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """The docstring that stands below each key of a model, in it or in the class that it has the key from."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if not issubclass(kind, BaseModel) or kind is BaseModel:
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(definition, ast.ClassDef)
        for key, below in pairwise(definition.body):
            if isinstance(key, ast.AnnAssign) and isinstance(key.target, ast.Name):
                found.pop(key.target.id, None)
                if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                    found[key.target.id] = inspect.cleandoc(str(below.value.value))
    return found


def _summary(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _row(name: str, field: FieldInfo, meaning: str, path: str, places: dict[type[BaseModel], str]) -> str:
    key = field.alias or name
    cells = (
        f"`{key}`",
        _values(field, path, name, places),
        _default(path_of(path, name), field),
        unit(key),
        meaning,
    )
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def unit(key: str) -> str:
    """What a key's number is counted in; "" for what has no unit."""
    if key in NOT_SO:
        return NOT_SO[key]
    endings = [ending for ending in UNITS if key.endswith(ending)]
    return UNITS[max(endings, key=len)] if endings else ""


def _default(name: str, field: FieldInfo) -> str:
    if name in LEFT_OUT and field.is_required():
        return LEFT_OUT[name]
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        tag = _tag(type(value))
        return f"`{tag}`" if tag else "its defaults"
    if value is PydanticUndefined:
        return "required"
    return f"`{json.dumps(to_jsonable_python(value))}`"


def path_of(path: str, name: str) -> str:
    """The dotted key of a field of the section at `path`."""
    return f"{path}.{name}" if path else name


def _values(field: FieldInfo, path: str, name: str, places: dict[type[BaseModel], str]) -> str:
    below = path_of(path, name)
    return _words(field.annotation, below, places) + _limits(field.metadata)


def _words(annotation: Any, path: str, places: dict[type[BaseModel], str]) -> str:
    """A type in words, with links to the sections it stands for."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _words(arguments[0], path, places) + _limits(arguments[1:])
    if origin is typing.Literal:
        return ", ".join(f"`{json.dumps(a)}`" if not isinstance(a, str) else f"`{a}`" for a in arguments)
    if origin in (types.UnionType, typing.Union):
        parts = [_words(a, path, places) for a in arguments if a is not type(None)]
        return " or ".join([*parts, *(["null"] if type(None) in arguments else [])])
    if origin in (tuple, list):
        if origin is tuple and len(arguments) == 2 and arguments[1] is not Ellipsis:
            return f"two of: {_words(arguments[0], path, places)}"
        return f"list of: {_words(arguments[0], path, places)}"
    if origin is dict:
        return f"by name: {_words(arguments[1], path, places)}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return " or ".join(_link(kind, places.get(kind, path)) for kind in _models(annotation))
    plain = {int: "whole number", float: "number", str: "text", bool: "`true`, `false`"}
    return plain.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _link(kind: type[BaseModel], path: str) -> str:
    tag = _tag(kind)
    anchor = path.replace(".", "") + (f"-type-{tag}" if tag else "")
    return f"[{tag or 'keys'}](#{anchor})"


def _limits(metadata: typing.Iterable[Any]) -> str:
    """Bounds of a number, or of a list's length."""
    bounds = ""
    for one in metadata:
        match one:
            case Ge(ge=limit):
                bounds += f", >= {limit}"
            case Gt(gt=limit):
                bounds += f", > {limit}"
            case Le(le=limit):
                bounds += f", <= {limit}"
            case Lt(lt=limit):
                bounds += f", < {limit}"
            case MinLen(min_length=limit):
                bounds += f", at least {limit}"
            case _:
                pass
    return bounds


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a type may stand for; of those looked up by their type, the ones that Berry brings itself."""
    origin = typing.get_origin(annotation)
    if origin is not None:
        arguments = typing.get_args(annotation)
        if origin is typing.Annotated:
            arguments = arguments[:1]
        return [] if origin is typing.Literal else [kind for a in arguments for kind in _models(a)]
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return []
    registry = annotation.__dict__.get("by_type")
    return [annotation] if registry is None else [registry.get(name).config for name in registry.own_names()]


def _tag(model: type[BaseModel]) -> str | None:
    """The value of its `type`, where it is one of several kinds."""
    field = model.model_fields.get("type")
    return field.default if field is not None and isinstance(field.default, str) else None


if __name__ == "__main__":
    sys.stdout.write(reference())
