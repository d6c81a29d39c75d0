"""Finds the functions that check one kind of verifier: Berry's own, and those that other packages add.

spec ─► its `type` ─► module of that kind, imported when first met ─► verify(request, context), fault(spec)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

from berry.verifiers.base import ExtensionError
from berry.verifiers.context import VerifyFunction
from berry.verifiers.specs import extensions
from berry.verifiers.specs.base import Spec
from berry.verifiers.specs.extensions import register_verifier
from berry.verifiers.specs.union import OWN_KINDS, components

__all__ = ["ExtensionError", "check_extensions", "fault", "kinds", "register_verifier", "verifier_for"]

_FOLDERS = {  # of verifiers/kinds, that have a folder
    **dict.fromkeys(("program_of_thought", "program_tests", "python_function", "sql", "stdio"), "programs."),
    **dict.fromkeys(("constraints", "json_schema"), "texts."),
}
_MODULES = {kind: f"berry.verifiers.kinds.{_FOLDERS.get(kind, '')}{kind}" for kind in OWN_KINDS} | dict.fromkeys(
    ("all_of", "any_of", "weighted"), "berry.verifiers.kinds.combine"
)


class VerifierKind(NamedTuple):
    """What is done with specifications of one kind."""

    verify: VerifyFunction
    fault: Callable[[Any], str | None]


def verifier_for(spec: Spec) -> VerifyFunction:
    """The coroutine `verify(request, context)` of the spec's kind. Raises LookupError for a kind nobody registered."""
    return _kind(getattr(spec, "type", type(spec).__name__)).verify


def fault(spec: Spec) -> str | None:
    """Why no response could ever be checked against `spec`, in words for the problem's author; None when one can.

    A gold answer that can't be read, or tests that are not code, are such faults; a combination has those of its parts.
    """
    own = _kind(getattr(spec, "type", type(spec).__name__)).fault(spec)
    if own is not None:
        return own
    for number, part in enumerate(components(spec)):
        if (found := fault(part)) is not None:
            return f"parts[{number}]: {found}"
    return None


def kinds() -> tuple[str, ...]:
    """Names of all kinds of verifier that can be used here: Berry's own, then those of other packages."""
    return (*OWN_KINDS, *extensions.names())


def check_extensions() -> None:
    """Refuses two packages that register one name. Raises ExtensionError naming both; imports neither."""
    extensions.installed()


@lru_cache
def _kind(kind: str) -> VerifierKind:
    if kind in _MODULES:
        module = import_module(_MODULES[kind])
        return VerifierKind(module.verify, module.fault)
    added = extensions.find(kind)
    if added is None:
        raise LookupError(f"no verifier of kind {kind!r} is here; there are {', '.join(kinds())}")
    return VerifierKind(added.verify, added.fault)
