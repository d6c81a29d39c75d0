"""Checks that a response holds JSON of a given form, or a given value (`json_schema`).

    response ─► last fenced block that is JSON, else the whole text, else the last {…} or […] ─► schema ─► expected

JSON is read strictly: NaN and Infinity are none, and an object's key stands once. References to other documents are
never fetched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import regex
from referencing.exceptions import Unresolvable

from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.code_blocks import fenced
from berry.verifiers.extract import after_thinking
from berry.verifiers.specs.answers import JsonSchemaSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

MAX_CHARS = 1 << 20
MAX_DEPTH = 200
PATTERN_S = 1.0
"""Seconds that one regular expression of a schema may take."""
ATTEMPTS = 64
"""Places at which JSON may begin, at most."""
_OPENING = re.compile(r"[{\[]")


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:  # noqa: ARG001 - one signature for all
    """Finds the JSON in the response, and holds it against the schema and the expected value."""

    spec = request.spec
    assert isinstance(spec, JsonSchemaSpec)
    text = after_thinking(request.response).strip()
    if not text:
        return verdict(Reason.NO_ANSWER)
    if len(text) > MAX_CHARS:
        return verdict(Reason.ANSWER_TOO_LARGE, note=f"over {MAX_CHARS} characters")
    try:
        value = find_json(text)
    except LookupError:
        return verdict(Reason.UNPARSABLE_ANSWER, note="no JSON in the response")
    if depth(value) > MAX_DEPTH:
        return verdict(Reason.ANSWER_TOO_LARGE, note=f"nested deeper than {MAX_DEPTH}")
    try:
        error = next(iter(_validator(json.dumps(spec.json_schema)).iter_errors(value)), None)
    except (Unresolvable, RecursionError) as problem:
        return verdict(Reason.TESTS_BROKEN, note=f"the schema can't be followed: {problem}")
    except TimeoutError:  # over a text of the response's choice
        return verdict(Reason.WRONG_ANSWER, note=f"a pattern of the schema can't get through it in {PATTERN_S} s")
    if error is not None:
        return verdict(Reason.WRONG_ANSWER, at=error.json_path, note=error.message)
    if spec.compare and not same(value, spec.expected):
        return verdict(Reason.WRONG_ANSWER, got=value, expected=spec.expected)
    return verdict(Reason.CORRECT)


def mismatch(schema: dict[str, Any], value: Any) -> str | None:
    """Why a value does not fit a schema, and where in it; None where it does."""
    try:
        error = next(iter(_validator(json.dumps(schema)).iter_errors(value)), None)
    except (Unresolvable, RecursionError, TimeoutError) as problem:
        return f"it can't be held against the schema: {problem}"
    return None if error is None else f"{error.json_path}: {error.message}"


def fault(spec: JsonSchemaSpec) -> str | None:
    """Why the schema is none, or why the expected value does not fit it; None where both are well."""
    import jsonschema

    try:
        validator = _validator(json.dumps(spec.json_schema))
        validator.check_schema(spec.json_schema)
        error = next(iter(validator.iter_errors(spec.expected)), None) if spec.compare else None
    except jsonschema.SchemaError as problem:
        return f"json_schema is no JSON Schema: {problem.message}"
    except (Unresolvable, RecursionError) as problem:
        return f"json_schema can't be followed: {problem}"
    return f"expected does not fit json_schema: {error.message}" if error is not None else None


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    import jsonschema
    from jsonschema import validators
    from referencing import Registry

    parsed = json.loads(schema)
    kind = validators.validator_for(parsed, default=jsonschema.Draft202012Validator)
    bounded = validators.extend(kind, {"pattern": _pattern})
    return bounded(parsed, registry=Registry())


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[Any]:
    """JSON Schema's `pattern`, in bounded time: the text is the response's, and the pattern may be slow on it."""
    import jsonschema

    if isinstance(value, str) and regex.search(pattern, value, timeout=PATTERN_S) is None:
        yield jsonschema.ValidationError(f"{value[:80]!r} does not match {pattern!r}")


def depth(value: Any) -> int:
    """How deep lists and objects are nested; 0 for anything else."""
    deepest, level = 0, [value]
    while level := [item for one in level if isinstance(one, dict | list) for item in _items(one)]:
        deepest += 1
        if deepest > MAX_DEPTH:
            break
    return deepest


def _items(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def find_json(text: str) -> Any:
    """The JSON that a text ends with, or is. Raises LookupError where it holds none."""
    for block in reversed(fenced(text)):
        try:
            return _read(block.text)
        except ValueError:
            continue
    try:
        return _read(text)
    except ValueError:
        pass
    decoder = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)
    begin, value, found = 0, None, False
    for _ in range(ATTEMPTS):
        match = _OPENING.search(text, begin)
        if match is None:
            break
        try:
            value, begin = decoder.raw_decode(text, match.start())
            found = True
        except (ValueError, RecursionError):
            begin = match.end()
    if not found:
        raise LookupError("no JSON")
    return value


def _read(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("too deep") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def same(value: Any, expected: Any) -> bool:
    """Equal as JSON: true is not 1, and 1.0 is 1."""
    if isinstance(value, bool) or isinstance(expected, bool):
        return value is expected
    if isinstance(value, dict) and isinstance(expected, dict):
        return value.keys() == expected.keys() and all(same(value[key], expected[key]) for key in value)
    if isinstance(value, list) and isinstance(expected, list | tuple):
        return len(value) == len(expected) and all(same(a, b) for a, b in zip(value, expected, strict=True))
    return (type(value) is type(expected) and value == expected) or (
        isinstance(value, int | float) and isinstance(expected, int | float) and value == expected
    )
