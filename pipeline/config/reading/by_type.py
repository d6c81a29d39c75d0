"""Lets a configuration section be one of several classes that are looked up by its `type`, packages' own included.

    {"type": "beam", "beams": 8} ─► ByType(registry) ─► registry.get("beam").config ─► Beam(beams=8)

Like pydantic's discriminated union, but the classes need not be known when the section is defined.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, cast

from pydantic import GetCoreSchemaHandler, ValidationError, ValidationInfo
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from berry.pipeline.config.reading.base import Section
from berry.pipeline.errors import ConfigError
from berry.pipeline.extensions import Registry


class Configured(Protocol):
    """What is registered: it says which section configures it."""

    config: ClassVar[type[Any]]


class ByType:
    """Annotation of a section's base class: values are validated by the class that `registry` has for their `type`."""

    def __init__(self, registry: Registry[Any]) -> None:
        self.registry = registry

    def __get_pydantic_core_schema__(self, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_before_validator_function(self._pick, handler(source))

    def _pick(self, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, Section):
            return value
        if not isinstance(value, dict):
            raise PydanticCustomError("section_type", "must be a mapping (types: {names})", self._names())
        if "type" not in value:
            raise PydanticCustomError("union_tag_not_found", "type is missing (there are {names})", self._names())
        name = value["type"]
        if name not in self.registry.names():
            context = {"tag": str(name), "expected_tags": ", ".join(self.registry.names())}
            raise PydanticCustomError("union_tag_invalid", "type must be one of {expected_tags}, got {tag}", context)
        try:
            section: type[Section] = self.registry.get(name).config
        except ConfigError as error:
            raise ValueError(str(error)) from error
        try:
            return section.model_validate(value, context=info.context)
        except ValidationError as error:
            raise _below(error, name) from error

    def _names(self) -> dict[str, Any]:
        return {"names": ", ".join(self.registry.names())}


def _below(error: ValidationError, tag: str) -> ValidationError:
    """The same errors with the tag in front of their places, as pydantic's own unions give them."""
    details: list[InitErrorDetails] = []
    for detail in error.errors():
        context = detail.get("ctx") if detail["type"] == "union_tag_invalid" else None
        kind: Any = detail["type"]
        told = PydanticCustomError(kind, cast("Any", detail["msg"]), context)
        details.append(InitErrorDetails(type=told, loc=(tag, *detail["loc"]), input=detail["input"]))
    return ValidationError.from_exception_data(error.title, details)


def explain_unusable(name: str, thing: type[Configured], base: type[Section]) -> str | None:
    """What is wrong with a class that was registered under `name` and is to be configured by a subclass of `base`;
    None if nothing is."""
    config = getattr(thing, "config", None)
    if not (isinstance(config, type) and issubclass(config, base)):
        return f"its `config` must be a subclass of {base.__module__}.{base.__name__}, got {config!r}"
    kind = config.model_fields["type"].default
    if kind != name:
        return f'{config.__name__}.type must be a Literal with the default "{name}", got {kind!r}'
    return None
