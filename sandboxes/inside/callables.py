"""Lets functions cross between judge and candidate: as numbers, which the other side calls through the host.

    a function in a value ─► outgoing ─► wire.Reference ─► the other process ─► incoming ─► a stub
    stub(args) ─► call(number, args) ─► the function, in its own process ─► plain data

Either side calls only what it was given. Built-in types (`int`, `list`) cross by their names.
"""

from __future__ import annotations

import builtins
from collections import deque
from collections.abc import Callable
from typing import Any

from berry.sandboxes import wire

Call = Callable[[int, tuple[Any, ...], dict[str, Any]], Any]
MOST_HELD = 100_000
_TYPES = {
    kind: kind.__name__
    for kind in (int, float, str, bool, list, dict, tuple, set, frozenset, bytes, complex, object, range)
}
_NAMED = {name: kind for kind, name in _TYPES.items()}
"""No other built-in name crosses: `exec`, named by a hostile candidate, would run in the tests' process."""


class Callables:
    """The functions that one side has given away, and stubs for those it was given. `call` runs one of the others."""

    def __init__(self, owner: str, call: Call) -> None:
        self._owner, self._call = owner, call
        self._held: list[Callable[..., Any]] = []
        self._numbers: dict[int, int] = {}

    def __getitem__(self, number: int) -> Callable[..., Any]:
        return self._held[number]

    def __len__(self) -> int:
        return len(self._held)

    def outgoing(self, value: Any, depth: int = 0) -> Any:
        """Copies a value with references for the functions in its plain containers. Raises wire.Unsupported for more
        than MOST_HELD of them."""
        kind = type(value)
        if depth > wire.MAX_DEPTH:
            return value
        if kind in (list, tuple, set, frozenset, deque):
            return kind(self.outgoing(item, depth + 1) for item in value)
        if kind is dict:
            return {key: self.outgoing(item, depth + 1) for key, item in value.items()}
        if isinstance(value, Stub | Forged):
            return value.reference
        if kind is type and value in _TYPES:
            return wire.Reference("type", _TYPES[value])
        if not callable(value):
            return value
        number = self._numbers.get(id(value))
        if number is None:
            if len(self._held) >= MOST_HELD:
                raise wire.Unsupported(f"more than {MOST_HELD} functions")
            number = self._numbers[id(value)] = len(self._held)
            self._held.append(value)  # held for good, so that its id stays its own
        return wire.Reference(self._owner, number)

    def incoming(self, value: Any) -> Any:
        """Copies a value with stubs for its references, and with this side's own functions where it gets them back."""
        kind = type(value)
        if kind in (list, tuple, set, frozenset, deque):
            return kind(map(self.incoming, value))
        if kind is dict:
            return {key: self.incoming(item) for key, item in value.items()}
        if kind is not wire.Reference:
            return value
        if value.owner == "type":
            return _NAMED.get(str(value.number)) or Forged(value)
        if value.owner != self._owner:
            return Stub(value, self._call)
        return self._held[value.number] if value.number < len(self._held) else Forged(value)


class Forged:
    """A name or number that was never given. It can be handed back, so that it breaks nothing in the tests."""

    def __init__(self, reference: wire.Reference) -> None:
        self.reference = reference


class Stub:
    """A function of the other side."""

    def __init__(self, reference: wire.Reference, call: Call) -> None:
        self.reference, self._call = reference, call
        self.__name__ = self.__qualname__ = "function"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(self.reference.number, args, kwargs)  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stub) and other.reference == self.reference

    def __hash__(self) -> int:
        return hash((self.reference.owner, self.reference.number))


def exception(name: str, text: str, otherwise: type[Exception]) -> Exception:
    """Makes the built-in exception of this name, else one of `otherwise`."""
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(text)
        except TypeError:  # the Unicode errors want more than a text
            return otherwise(f"{name}: {text}")
    return otherwise(f"{name}: {text}")
