"""Berry: synthetic reasoning data by distributed tree search, verified in sandboxes, kept as Parquet.

    pipeline    problems ─► trees of rollouts ─► verdicts, scores ─► kept trajectories ─► exports, training
    verifiers   response + specification ─► verdict: pass, fail or unverifiable
    sandboxes   untrusted code ─► result, in milliseconds, without root

The names below are all that a program needs to know; `berry --help` is the same from the command line.

    verify                 check one response                 Run       open a run, read trees and trajectories
    load_config, run       a YAML file, a run of it           Problem   one task with a way to check its answers
    reward                 one response's reward, for reinforcement learning: what `verify` says as a number
    register_policy, register_pruning_rule, register_verifier, register_problems, register_export
                           add your own, for this process; a package does it by the entry points `berry.policies`,
                           `berry.pruning`, `berry.verifiers`, `berry.problems` and `berry.exports`
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from berry.pipeline.api.reward import reward
    from berry.pipeline.api.runs import Run, load_config, run
    from berry.pipeline.api.verify import verify
    from berry.pipeline.core.prune.registry import register_pruning_rule
    from berry.pipeline.core.search.registry import register_policy
    from berry.pipeline.records import Problem
    from berry.pipeline.stages.export.registry import register_export
    from berry.pipeline.stages.problems.sources import register_problems
    from berry.verifiers.specs.extensions import register_verifier

__version__ = "0.2.0.dev0"

_HOMES = {
    "verify": "berry.pipeline.api.verify",
    "load_config": "berry.pipeline.api.runs",
    "run": "berry.pipeline.api.runs",
    "Run": "berry.pipeline.api.runs",
    "Problem": "berry.pipeline.records",
    "reward": "berry.pipeline.api.reward",
    "register_policy": "berry.pipeline.core.search.registry",
    "register_pruning_rule": "berry.pipeline.core.prune.registry",
    "register_verifier": "berry.verifiers.specs.extensions",
    "register_problems": "berry.pipeline.stages.problems.sources",
    "register_export": "berry.pipeline.stages.export.registry",
}
"""Where each public name is defined. It is imported when first asked for, so that `import berry` stays instant."""

__all__ = [
    "Problem",
    "Run",
    "__version__",
    "load_config",
    "register_export",
    "register_policy",
    "register_problems",
    "register_pruning_rule",
    "register_verifier",
    "reward",
    "run",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'berry' has no attribute {name!r} (there are {', '.join(__all__)})")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
