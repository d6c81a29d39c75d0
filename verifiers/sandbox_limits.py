"""Translates a checker's configuration and a problem's limits into the sandboxes' terms, and outcomes into reasons."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import berry
from berry.sandboxes.base import MIB, CaseResult, JobOutcome, Limits
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.pool import SandboxPool
from berry.verifiers.base import Reason
from berry.verifiers.config import CheckerConfig
from berry.verifiers.specs.code import CodeSpec

YIELD_TO_CALLS = 5
"""By how much checks are nicer than tool calls: the scheduler gives a call three times a check's share of a core."""
_REASONS = {
    JobOutcome.CPU_LIMIT: Reason.CPU_LIMIT,
    JobOutcome.WALL_LIMIT: Reason.WALL_LIMIT,
    JobOutcome.MEMORY_LIMIT: Reason.MEMORY_LIMIT,
    JobOutcome.OUTPUT_LIMIT: Reason.OUTPUT_LIMIT,
    JobOutcome.DISK_LIMIT: Reason.DISK_LIMIT,
    JobOutcome.PROCESS_LIMIT: Reason.PROCESS_LIMIT,
    JobOutcome.RUNTIME_ERROR: Reason.RUNTIME_ERROR,
    JobOutcome.COMPILE_ERROR: Reason.COMPILE_ERROR,
    JobOutcome.VIOLATION: Reason.VIOLATION,
    JobOutcome.UNSUPPORTED_VALUE: Reason.UNSUPPORTED_VALUE,
    JobOutcome.MISSING_ENTRY_POINT: Reason.MISSING_ENTRY_POINT,
    JobOutcome.NOT_RUN: Reason.NOT_CHECKED,
    JobOutcome.MISSING_TOOL: Reason.MISSING_TOOL,
    JobOutcome.OVERLOADED: Reason.OVERLOADED,
    JobOutcome.FAULT: Reason.SANDBOX_FAULT,
}


def reason_of(outcome: JobOutcome) -> Reason:
    """The reason that a program's end, other than `ok`, stands for."""
    return _REASONS[outcome]


def limits_of(spec: CodeSpec, config: CheckerConfig) -> Limits:
    """The problem's own limits where it sets any, else the checker's. Wall time keeps its proportion to CPU time."""
    cpu_s = spec.cpu_s or config.cpu_s
    return Limits(
        cpu_s=cpu_s,
        wall_s=max(config.wall_s * cpu_s / config.cpu_s, cpu_s),
        memory_bytes=(spec.memory_mb or config.memory_mb) * MIB,
        output_bytes=config.output_kb * 1024,
        value_bytes=config.output_kb * 1024,
    )


def make_pool(config: CheckerConfig, import_paths: tuple[str, ...] = ()) -> SandboxPool:
    """The pool for programs of every kind."""
    return SandboxPool(pool_config(config, import_paths))


def pool_config(config: CheckerConfig, import_paths: tuple[str, ...] = ()) -> PoolConfig:
    """How sandboxes are configured where a checker is configured so."""
    return PoolConfig(
        slots=config.slots or os.cpu_count() or 1,
        queue_limit=config.queue_limit,
        limits=limits_of(CodeSpec(), config),
        isolation=config.isolation,
        import_paths=(*package_root(), *import_paths),
        launcher=yielding(config),
    )


def behind_calls(config: CheckerConfig) -> CheckerConfig:
    """The configuration of checks that yield the cores to tool calls: while a call is waited for, a prefix takes room
    in the engine's cache; a check keeps nothing from going on."""
    return config.model_copy(update={"nice": min(19, config.nice + YIELD_TO_CALLS)})


def yielding(config: CheckerConfig) -> tuple[str, ...]:
    """What starts programs at a lower priority; nothing where the host has no `nice`."""
    nice = shutil.which("nice") if config.nice else None
    return () if nice is None else (nice, "-n", str(config.nice))


def package_root() -> tuple[str, ...]:
    """Where this package itself is imported from, for profiles that preload a part of it."""
    root = str(Path(berry.__file__).parent.parent)
    return (root,) if root in sys.path or not root.endswith("site-packages") else ()


def error_output(case: CaseResult) -> str | None:
    """The error that ended a program, else the last 500 characters of its standard error; None where it has neither."""
    return case.error or case.stderr.decode("utf-8", "replace").strip()[-500:] or None
