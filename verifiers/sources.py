"""Finds out whether a problem's own source is Python, without running any of it."""

from __future__ import annotations

import ast


def python_fault(source: str, what: str) -> str | None:
    """Why `source` is not Python; None when it compiles."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as fault:
        return f"{what} can't be compiled: {fault}"[:300]
    return None


def defined(source: str) -> set[str]:
    """Names of the functions that `source`, which must compile, defines at its top."""
    return {n.name for n in ast.parse(source).body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
