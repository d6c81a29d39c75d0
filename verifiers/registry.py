"""Which function checks which kind. Modules are imported when their kind is first met."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module

from verifiers.specs import Spec
from verifiers.tools import Verify

_MODULES = {
    "math": "verifiers.math",
    "python_function": "verifiers.python_function",
    "stdio": "verifiers.stdio",
    "program_tests": "verifiers.program_tests",
    "program_of_thought": "verifiers.program_of_thought",
    "expression": "verifiers.expression",
    "reasoning_gym": "verifiers.reasoning_gym",
    "formal": "verifiers.formal",
    "majority": "verifiers.majority",
    "model": "verifiers.model",
    "all_of": "verifiers.combine",
    "any_of": "verifiers.combine",
    "weighted": "verifiers.combine",
    "custom": "verifiers.custom",
}


def verifier_for(spec: Spec) -> Verify:
    """The `verify(request, tools)` of the spec's kind."""
    return _verify(getattr(spec, "type", type(spec).__name__))


@lru_cache
def _verify(kind: str) -> Verify:
    return import_module(_MODULES[kind]).verify
