"""Encodes values that cross between processes: length-prefixed frames of JSON, with tags for what JSON lacks.

    value ─► pack ─► JSON text ─► 4-byte length + bytes ─► the other process ─► loads ─► value of
    exact built-in types

Nothing is ever unpickled or evaluated. `loads` treats its bytes as hostile: it returns plain data or raises WireError,
in time linear in their length, and no value deeper, longer or with more equal hashes than the limits below. Plain data
is None, bool, int, float (nan and infinities too), str, bytes, complex, list, tuple, dict, set, frozenset, range,
deque, views of dicts, Decimal and Fraction. On the way out of a program some close relatives are turned into plain
data for convenience (Counter, defaultdict, namedtuple, NumPy scalars and arrays …); nothing about them survives but
the data.
"""

from __future__ import annotations

import json
import struct
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decimal import Decimal
    from fractions import Fraction

MAX_DEPTH = 100
"""Levels of nesting."""
MAX_FRACTION_BITS = 1 << 14
"""Length of a Fraction's numerator and denominator, each: to reduce one takes time that grows with its square."""
MAX_EXPONENT = 100_000
"""Largest exponent of a Decimal, either way: an integer made from it has as many digits."""
MAX_COMPARISONS = 1_500_000
"""Comparisons of one word with another that keys of equal hash may take in one set or dict: each is compared with all
others of its hash, as deep as they are equal, and nothing else runs in this process meanwhile."""
MAX_DEQUES = 1000
"""Deques in one value: an empty one takes 600 bytes of memory, and 17 in a frame."""
_SHORTEST_DEQUE = len('{"~":"q","v":[]}')
_LENGTH = struct.Struct("=I")
_SMALL_INT_BITS = 512
_TAG = "~"
_SCALARS = frozenset({bool, str, float, type(None)})
_encode_json = json.JSONEncoder(ensure_ascii=True, check_circular=False, separators=(",", ":")).encode


class WireError(ValueError):
    """Bytes that are not a value in this form."""


class Unsupported(TypeError):
    """A value that is not plain data."""


class Reference:
    """A function or built-in type that stands in another process: whose it is, and its number or name there."""

    __slots__ = ("number", "owner")

    def __init__(self, owner: str, number: int | str) -> None:
        self.owner, self.number = owner, number

    def __repr__(self) -> str:
        return str(self.number) if self.owner == "type" else f"<function of the {self.owner}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and (other.owner, other.number) == (self.owner, self.number)

    def __hash__(self) -> int:
        return hash((self.owner, self.number))


def pack(value: Any, depth: int = 0) -> Any:
    """Converts plain data to what JSON can hold; raises Unsupported naming the type."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is int:
        return value if value.bit_length() <= _SMALL_INT_BITS else {_TAG: "i", "v": hex(value)}
    if kind is Reference:
        return {_TAG: "x", "v": [value.owner, value.number]}
    if depth > MAX_DEPTH:
        raise Unsupported(f"nested deeper than {MAX_DEPTH}")
    depth += 1
    if kind is list:
        return [pack(v, depth) for v in value]
    if kind is tuple:
        return {_TAG: "t", "v": [pack(v, depth) for v in value]}
    if kind is dict:
        return {_TAG: "d", "k": [pack(k, depth) for k in value], "v": [pack(v, depth) for v in value.values()]}
    if kind is set or kind is frozenset:
        return {_TAG: "s" if kind is set else "f", "v": [pack(v, depth) for v in value]}
    if kind is bytes:
        return {_TAG: "b", "v": value.decode("latin-1")}
    if kind is complex:
        return {_TAG: "c", "v": [value.real, value.imag]}
    if kind is range:
        return {_TAG: "r", "v": [value.start, value.stop, value.step]}
    if kind in _VIEWS:
        return {_TAG: _VIEWS[kind], "v": [pack(v, depth) for v in value]}
    if kind is deque:
        return {_TAG: "q", "v": [pack(v, depth) for v in value]}
    if kind is _if_loaded("decimal", "Decimal"):
        if value.is_finite() and abs(value.adjusted()) > MAX_EXPONENT:
            raise Unsupported(f"a Decimal with an exponent beyond {MAX_EXPONENT}")
        return {_TAG: "D", "v": str(value)}
    if kind is _if_loaded("fractions", "Fraction"):
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_FRACTION_BITS:
            raise Unsupported(f"a Fraction of more than {MAX_FRACTION_BITS} bits")
        return {_TAG: "F", "v": [hex(value.numerator), hex(value.denominator)]}
    return pack(_as_plain(value), depth)


def _if_loaded(module: str, name: str) -> Any:
    """Finds a class of a module that not every child has loaded; None where it hasn't."""
    return getattr(sys.modules.get(module), name, None)


def _decimal(text: str) -> Decimal:
    from decimal import Decimal

    return Decimal(text)


def _fraction(numerator: int, denominator: int) -> Fraction:
    from fractions import Fraction

    return Fraction(numerator, denominator)


def _as_plain(value: Any) -> Any:
    """Reads the plain data inside a close relative of a built-in type; raises Unsupported. A subclass's own methods are
    not called: its data is read with the built-in type's."""
    for base, read in _BASES:
        if isinstance(value, base):
            return read(value)
    module, name = type(value).__module__, type(value).__name__
    if module == "numpy" and name == "ndarray":
        return value.tolist()
    if module == "numpy" and hasattr(value, "item"):
        return value.item()
    raise Unsupported(f"{module}.{type(value).__qualname__} is not plain data")


_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (int, int.__int__),
    (float, float.__float__),
    (complex, complex.__complex__),
    (str, str.__str__),
    (bytes, bytes.__bytes__),
    (bytearray, lambda v: bytes(bytearray.__getitem__(v, slice(None)))),
    (tuple, lambda v: tuple(tuple.__iter__(v))),
    (list, lambda v: list(list.__iter__(v))),
    (dict, lambda v: dict(dict.items(v))),
    (set, lambda v: set(set.__iter__(v))),
    (frozenset, lambda v: frozenset(frozenset.__iter__(v))),
)
_VIEWS = {type({}.keys()): "k", type({}.values()): "w", type({}.items()): "m"}
_CONTAINERS = frozenset({list, tuple, dict, set, frozenset, deque, *_VIEWS})


def dumps(value: Any) -> bytes:
    """Encodes plain data as bytes; raises Unsupported."""
    return _encode_json(pack(value)).encode("ascii")


def packed_bytes(packed: Any) -> bytes:
    """Encodes something that `pack` made, or a structure around it."""
    return _encode_json(packed).encode("ascii")


def _unpack_tagged(obj: dict[str, Any]) -> Any:
    """Makes the value that a tag stands for. Raises WireError, and what comes of values of the wrong types."""
    tag, v = obj.get(_TAG), obj.get("v")
    if type(v) is str:
        if tag == "i":
            return int(v, 16)
        if tag == "b":
            return v.encode("latin-1")
        if tag == "D" and len(v) < 10_000:
            number = _decimal(v)
            if number.is_finite() and abs(number.adjusted()) > MAX_EXPONENT:
                raise WireError("a large exponent")
            return number
    if type(v) is list:
        if tag == "t":
            return tuple(v)
        if tag == "d":
            keys = obj["k"]
            _refuse_collisions(keys)
            return dict(zip(keys, v, strict=True))
        if tag == "s" or tag == "f":
            _refuse_collisions(v)
            return set(v) if tag == "s" else frozenset(v)
        if tag in ("q", "k", "w", "m", "r"):
            return _unpack_relative(tag, v)
        if tag == "c":
            return complex(float(v[0]), float(v[1]))
        if tag == "F":
            if max(len(v[0]), len(v[1])) > MAX_FRACTION_BITS // 4 + 4:
                raise WireError("a long fraction")
            return _fraction(int(v[0], 16), int(v[1], 16))
    raise WireError("unknown tag")


def _unpack_relative(tag: str, v: list[Any]) -> Any:
    """What is much like a list and compares equal to none: ranges, deques, and the views of a dict."""
    if tag == "r":
        if [type(n) for n in v] != [int, int, int]:
            raise WireError("not a range")
        found = range(*v)
        len(found)  # raises where it has no length
        return found
    if tag == "q":
        return deque(v)
    if tag == "w":
        return dict(enumerate(v)).values()
    keys = v if tag == "k" else [key for key, _ in v]
    _refuse_collisions(keys)
    return dict.fromkeys(v).keys() if tag == "k" else dict(v).items()


def _refuse_collisions(keys: list[Any]) -> None:
    """Raises WireError for keys chosen to share one hash, which would cost the reader quadratic time."""
    if len(set(map(hash, keys))) == len(keys):
        return
    counts = Counter(map(hash, keys))
    pairs = sum(n * (n - 1) // 2 for n in counts.values() if n > 1)
    if pairs * max(_words(key) for key in keys if counts[hash(key)] > 1) > MAX_COMPARISONS:
        raise WireError("too many equal hashes")


def _words(key: Any) -> int:
    """How much there is to compare in a key: parts, and four bytes of one."""
    words, waiting = 0, [key]
    while waiting:
        part = waiting.pop()
        if type(part) in (tuple, frozenset):
            waiting += part
            words += 1
        else:
            words += 1 + sys.getsizeof(part) // 64
    return words


_decode_json = json.JSONDecoder(object_hook=_unpack_tagged).raw_decode


def _unpack_with_references(obj: dict[str, Any]) -> Any:
    if obj.get(_TAG) != "x":
        return _unpack_tagged(obj)
    match obj.get("v"):
        case [("judge" | "candidate") as owner, int() as number] if type(number) is int and number >= 0:
            return Reference(owner, number)
        case ["type", str() as name]:
            return Reference("type", name)
        case _:
            raise WireError("not a reference")


_decode_with_references = json.JSONDecoder(object_hook=_unpack_with_references).raw_decode


def _decode_counting_deques(text: str, unpack: Callable[[dict[str, Any]], Any]) -> tuple[Any, int]:
    left = MAX_DEQUES

    def counted(obj: dict[str, Any]) -> Any:
        nonlocal left
        left -= obj.get(_TAG) == "q"
        if left < 0:
            raise WireError(f"more than {MAX_DEQUES} deques")
        return unpack(obj)

    return json.JSONDecoder(object_hook=counted).raw_decode(text)


def loads(data: bytes, *, references: bool = False) -> Any:
    """Decodes hostile bytes to a value of exact built-in types, and of Reference where `references` may stand; raises
    WireError."""
    try:
        text = data.decode("ascii")
        if len(data) > _SHORTEST_DEQUE * MAX_DEQUES:
            value, end = _decode_counting_deques(text, _unpack_with_references if references else _unpack_tagged)
        else:
            value, end = (_decode_with_references if references else _decode_json)(text)
        if end < len(text):
            raise WireError("more than a value")
        if len(data) > 2 * MAX_DEPTH and data.count(b"[") + data.count(b"{") > MAX_DEPTH:
            _refuse_depth(value)
        return value
    except WireError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, ArithmeticError) as e:
        raise WireError(f"not a value: {type(e).__name__}") from None


def _refuse_depth(value: Any) -> None:
    """Raises WireError for a value nested deeper than `pack` allows, in a frame around it."""
    level = [value]
    for _ in range(MAX_DEPTH + 2):
        below: list[Any] = []
        for one in level:
            if type(one) in _CONTAINERS:
                below += one
                if type(one) is dict:
                    below += one.values()
        if not below:
            return
        level = below
    raise WireError(f"nested deeper than {MAX_DEPTH}")


def decoded_bytes(body: bytes) -> int:
    """Estimates the memory that a value takes once it is decoded, which may be many times its frame's."""
    if len(body) < 256:
        return 32 * len(body)
    marks = body.count(b",") + body.count(b'"')
    return 8 * len(body) + 24 * marks + 56 * (body.count(b"[") + body.count(b"{"))


def frame(body: bytes) -> bytes:
    """Puts the body's length before it."""
    return _LENGTH.pack(len(body)) + body


class Reader:
    """Splits a byte stream into frames; no frame may be longer than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Adds bytes of the stream."""
        self._buffer += data

    @property
    def pending(self) -> int:
        """Bytes of a frame that has not ended."""
        return len(self._buffer)

    def frames(self) -> Iterator[bytes]:
        """Takes every whole frame so far; raises WireError for one that is too long."""
        start = 0
        try:
            while len(self._buffer) - start >= 4:
                (length,) = _LENGTH.unpack_from(self._buffer, start)
                if length > self.limit:
                    raise WireError(f"a frame of {length} bytes, {self.limit} allowed")
                if len(self._buffer) - start - 4 < length:
                    return
                body = bytes(self._buffer[start + 4 : start + 4 + length])
                start += 4 + length
                yield body
        finally:
            del self._buffer[:start]
