"""Which function checks which kind. Modules are imported when their kind is first met."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module

from berry.verifiers.context import Verify
from berry.verifiers.specs.union import Spec

_MODULES = {
    "math": "berry.verifiers.kinds.math",
    "python_function": "berry.verifiers.kinds.python_function",
    "stdio": "berry.verifiers.kinds.stdio",
    "program_tests": "berry.verifiers.kinds.program_tests",
    "program_of_thought": "berry.verifiers.kinds.program_of_thought",
    "expression": "berry.verifiers.kinds.expression",
    "reasoning_gym": "berry.verifiers.kinds.reasoning_gym",
    "formal": "berry.verifiers.kinds.formal",
    "majority": "berry.verifiers.kinds.majority",
    "model": "berry.verifiers.kinds.model",
    "all_of": "berry.verifiers.kinds.combine",
    "any_of": "berry.verifiers.kinds.combine",
    "weighted": "berry.verifiers.kinds.combine",
    "custom": "berry.verifiers.kinds.custom",
}


def verifier_for(spec: Spec) -> Verify:
    """The `verify(request, tools)` of the spec's kind."""
    return _verify(getattr(spec, "type", type(spec).__name__))


@lru_cache
def _verify(kind: str) -> Verify:
    return import_module(_MODULES[kind]).verify
