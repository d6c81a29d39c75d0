"""Holds the kinds of verifier that other packages add to Berry's own.

    entry point `berry.verifiers`: polite = "my_package.polite" ─┐
    register_verifier(PoliteSpec, verify, fault)                 ─┴─► specs.union (parsing), registry (checking)

An entry point is named after its kind, and loads a module or an object that has `spec` (a subclass of
`specs.base.Spec` whose field `type` is a Literal with the kind's name), `verify` and, if there is anything to refuse,
`fault`. It is loaded when its kind is first met. Entry points are seen in every process of a run;
`register_verifier` is seen in the process that calls it, so call it at the top of the module that defines the spec.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_args

from berry.verifiers.base import ExtensionError
from berry.verifiers.specs.base import Spec

GROUP = "berry.verifiers"


@dataclass(frozen=True, slots=True)
class AddedKind:
    """One added kind: its specification, how it is checked, what is wrong with a specification of it."""

    spec: type[Spec]
    verify: Callable[[Any, Any], Awaitable[Any]]
    fault: Callable[[Any], str | None]
    origin: str


_registered: dict[str, AddedKind] = {}


def register_verifier(
    spec: type[Spec],
    verify: Callable[[Any, Any], Awaitable[Any]],
    fault: Callable[[Any], str | None] | None = None,
    *,
    origin: str | None = None,
) -> None:
    """Adds a kind of verifier to this process, under the name that `spec`'s field `type` gives.

    `verify(request, context)` is a coroutine that returns a Verdict; `fault(spec)` says, as text, why no response could
    ever be checked against a specification, or None. `origin` is who adds it, for messages; by default the module of
    `spec`. Registering the same three again changes nothing. Raises ExtensionError where the name is taken or missing.
    """
    kind = kind_of_class(spec)
    added = AddedKind(spec, verify, fault or _no_fault, origin or spec.__module__)
    there = _registered.get(kind)
    if there is not None and (there.spec, there.verify) != (spec, verify):
        raise ExtensionError(
            f"verifier {kind!r} is registered by both {there.origin} and {added.origin}: rename or uninstall one"
        )
    if kind in own_kinds():
        raise ExtensionError(f"verifier {kind!r} of {added.origin} has the name of one of Berry's own: rename it")
    _registered[kind] = added


def find(kind: str) -> AddedKind | None:
    """The added kind of that name, its entry point loaded if need be; None where no package adds one.

    Raises ExtensionError where the package can't be imported or what it offers is no verifier.
    """
    if kind not in _registered:
        point = installed().get(kind)
        if point is None:
            return None
        _load(point)
    return _registered[kind]


def names() -> tuple[str, ...]:
    """Kinds that other packages add, in the alphabet's order."""
    return tuple(sorted({*_registered, *installed()}))


def models() -> tuple[type[Spec], ...]:
    """Specification classes of the added kinds met so far."""
    return tuple(extension.spec for extension in _registered.values())


@lru_cache
def installed() -> dict[str, EntryPoint]:
    """Entry points by kind; nothing is imported. Raises ExtensionError where two packages give one name."""
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        there = points.setdefault(point.name, point)
        if there.value != point.value or _package(there) != _package(point):
            raise ExtensionError(
                f"verifier {point.name!r} is registered by both {_package(there)} and {_package(point)}: "
                "uninstall one of the two"
            )
        if point.name in own_kinds():
            raise ExtensionError(f"verifier {point.name!r} of {_package(point)} has the name of one of Berry's own")
    return points


def own_kinds() -> frozenset[str]:
    """Names of Berry's own kinds, which no package may take."""
    return frozenset(_own)


def kind_of_class(spec: type[Spec]) -> str:
    """The name that a specification class gives its kind. Raises ExtensionError where it gives none."""
    field = spec.model_fields.get("type") if isinstance(spec, type) and issubclass(spec, Spec) else None
    given = get_args(field.annotation) if field is not None else ()
    if len(given) != 1 or type(given[0]) is not str:
        raise ExtensionError(
            f"{spec!r} is no verifier specification: derive it from berry.verifiers.specs.base.Spec and give it "
            'a field `type: Literal["name"] = "name"`'
        )
    return given[0]


_own: set[str] = set()


def reserve(*kinds: str) -> None:
    """Keeps names for Berry's own kinds; `specs.union` calls it once."""
    _own.update(kinds)


def _load(point: EntryPoint) -> None:
    who = f"{_package(point)} ({point.value})"
    try:
        loaded = point.load()
    except (ImportError, AttributeError) as fault:
        raise ExtensionError(f"verifier {point.name!r} of {who} can't be imported: {fault}") from fault
    spec: Any = getattr(loaded, "spec", None)
    verify: Any = getattr(loaded, "verify", None)
    if spec is None or verify is None:
        raise ExtensionError(f"verifier {point.name!r} of {who} lacks `spec` (a class) or `verify` (a coroutine)")
    if (kind := kind_of_class(spec)) != point.name:
        raise ExtensionError(f"verifier {point.name!r} of {who} calls itself {kind!r}: give both the same name")
    register_verifier(spec, verify, getattr(loaded, "fault", None), origin=_package(point))


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


def _no_fault(_: Any) -> None:
    return None
