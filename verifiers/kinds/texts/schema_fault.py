"""Finds where a value does not fit a JSON Schema; the text of this file is also a sandbox job's source.

    schema_fault(schema, value) ─► None where it fits, [path, message] of the first fault, [None, message] of the schema

References to other documents are never fetched.
"""

from __future__ import annotations

import json

import jsonschema
from jsonschema import validators
from referencing import Registry
from referencing.exceptions import Unresolvable


def schema_fault(schema: str, value: str) -> list[str | None] | None:
    """The first fault of a value in a schema, both JSON texts; its path is None where it is the schema's own."""
    parsed = json.loads(schema)
    kind = validators.validator_for(parsed, default=jsonschema.Draft202012Validator)
    try:
        error = next(iter(kind(parsed, registry=Registry()).iter_errors(json.loads(value))), None)
    except Unresolvable as problem:
        return [None, str(problem)]
    return None if error is None else [error.json_path, error.message[:1000]]
