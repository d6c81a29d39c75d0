"""Checks that a response holds JSON of a given form, or a given value (`json_schema`).

    response ─► last fenced block that is JSON, else the whole text, else the last {…} or […] ─► schema ─► expected

JSON is read strictly: NaN and Infinity are none, and an object's key stands once. The schema is held against it in the
sandbox (`schema_fault`): patterns, recursion and numbers of the response's choice can keep it for ever, or make it
raise. A value over which it fails, while it gets through `null`, does not fit.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import regex
from referencing.exceptions import Unresolvable

from berry.sandboxes.base import Call, Job, JobOutcome, JobResult, SandboxError
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.extraction.code_blocks import fenced
from berry.verifiers.extraction.extract import after_thinking
from berry.verifiers.sandbox_limits import limits_of, reason_of
from berry.verifiers.specs.answers import JsonSchemaSpec
from berry.verifiers.specs.code import CodeSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

MAX_CHARS = 1 << 20
MAX_DEPTH = 200
_SOURCE = Path(__file__).with_name("schema_fault.py").read_text(encoding="utf-8")
_PROFILE = ("jsonschema",)
MATCH_S = 1.0
"""Seconds for which one value may be held against a schema in this process."""
_ends_s: ContextVar[float] = ContextVar("ends_s", default=float("inf"))
ATTEMPTS = 64
"""Places at which JSON may begin, at most."""
_OPENING = re.compile(r"[{\[]")


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:
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
    if spec.json_schema is not True and (found := await _misfit(spec, value, request, context)) is not None:
        return found
    if spec.compare and not same(value, spec.expected):
        return verdict(Reason.WRONG_ANSWER, got=value, expected=spec.expected)
    return verdict(Reason.CORRECT)


async def _misfit(spec: JsonSchemaSpec, value: Any, request: CheckRequest, context: VerifierContext) -> Verdict | None:
    """The verdict on a value that does not fit the schema; None where it does."""

    async def held_against(text: str) -> JobResult:
        call = Call((json.dumps(spec.json_schema), text))
        limits = limits_of(CodeSpec(), context.config)
        key = request.key or request.problem_id
        job = Job(_SOURCE, entry_point="schema_fault", calls=(call,), profile=_PROFILE, limits=limits, key=key)
        return await context.pool.run(job)

    try:
        result = await held_against(json.dumps(value))
        if result.outcome is JobOutcome.OK:
            return _of_fault(result.cases[0].value)
        if (reason := reason_of(result.outcome)).retryable:
            return verdict(reason, note=result.error)
        control = await held_against("null")
    except SandboxError as error:
        return verdict(Reason.MISSING_TOOL, note=str(error))
    fits_none = control.outcome is JobOutcome.OK
    note = f"the schema can't be followed{' over this value' if fits_none else ''}: {result.error}"
    return verdict(Reason.WRONG_ANSWER if fits_none else Reason.TESTS_BROKEN, note=note)


def _of_fault(found: Any) -> Verdict | None:
    if found is None:
        return None
    path, message = found
    if path is None:
        return verdict(Reason.TESTS_BROKEN, note=f"the schema can't be followed: {message}")
    return verdict(Reason.WRONG_ANSWER, at=path, note=message)


def fault(spec: JsonSchemaSpec) -> str | None:
    """Why the schema is none, or why the expected value does not fit it; None where both are well."""
    import jsonschema
    from jsonschema import validators

    schema: Any = spec.json_schema
    try:
        validators.validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
    except jsonschema.SchemaError as problem:
        return f"json_schema is no JSON Schema: {problem.message}"
    wrong = mismatch(schema, spec.expected) if spec.compare else None
    return None if wrong is None else f"expected does not fit json_schema: {wrong}"


def mismatch(schema: Any, value: Any) -> str | None:
    """Why a value does not fit a schema, and where in it; None where it does. In this process, for MATCH_S at most."""
    _ends_s.set(time.monotonic() + MATCH_S)
    try:
        error = next(iter(_validator(json.dumps(schema)).iter_errors(value)), None)
    except (Unresolvable, RecursionError, TimeoutError, ArithmeticError) as problem:
        return f"it can't be held against the schema: {problem}"
    return None if error is None else f"{error.json_path}: {error.message}"


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    """A validator whose keywords look at the clock, and whose patterns are bounded in time."""
    import jsonschema
    from jsonschema import validators
    from referencing import Registry

    parsed = json.loads(schema)
    kind = validators.validator_for(parsed, default=jsonschema.Draft202012Validator)
    keywords = {**kind.VALIDATORS, "pattern": _pattern}
    bounded = validators.extend(kind, {name: _timed(keyword) for name, keyword in keywords.items()})
    return bounded(parsed, registry=Registry())


def _timed(keyword: Any) -> Any:
    def timed(validator: Any, wanted: Any, value: Any, schema: Any) -> Any:
        if time.monotonic() > _ends_s.get():
            raise TimeoutError(f"over {MATCH_S} s")
        return keyword(validator, wanted, value, schema)

    return timed


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[Any]:
    """JSON Schema's `pattern`, in bounded time: the text is the response's, and the pattern may be slow on it."""
    import jsonschema

    if isinstance(value, str) and regex.search(pattern, value, timeout=MATCH_S) is None:
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
