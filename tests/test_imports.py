"""The walls: which package may import what, that no files import each other in a circle, who may import what is heavy.

files ─► edges (at the top, inside functions, for types alone) ─► WALLS, circles, importers of Ray, vLLM, torch
"""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "verifiers", "sandboxes")

ENGINES = ("pipeline.engines", "pipeline.engines.text")

WALLS: dict[str, tuple[str, ...]] = {
    # package: the packages that its files may import beside their own; `a.*` stands for a and all below it
    "pipeline": ("verifiers", "verifiers.specs"),
    "pipeline.config.reading": ("pipeline",),
    "pipeline.config.sections": (
        "pipeline",
        "pipeline.config.reading",
        "pipeline.config.sections.rollout",
        "verifiers",
    ),
    "pipeline.config.sections.rollout": (
        *("pipeline", "pipeline.config.reading", "pipeline.config.sections", "verifiers"),
    ),
    "pipeline.config": ("pipeline", "pipeline.config.*", "verifiers"),
    # core: pure
    "pipeline.core": ("pipeline", "pipeline.config.*", "pipeline.core.values", "verifiers"),
    "pipeline.core.assignment": ("pipeline", "pipeline.config.*", "pipeline.core", "verifiers"),
    "pipeline.core.values": ("pipeline", "pipeline.core", "verifiers"),
    "pipeline.core.prune": ("pipeline", "pipeline.config.*", "pipeline.core", "pipeline.core.values", "verifiers"),
    "pipeline.core.search": (
        *("pipeline", "pipeline.config.*", "pipeline.core", "pipeline.core.values", "pipeline.core.search.policies"),
        *("pipeline.core.assignment", "verifiers"),
    ),
    "pipeline.core.search.policies": (
        *(
            "pipeline",
            "pipeline.config.*",
            "pipeline.core",
            "pipeline.core.values",
            "pipeline.core.search",
            "verifiers",
        ),
    ),
    # what the stages use
    "pipeline.storage": ("pipeline",),
    "pipeline.storage.parquet": ("pipeline", "pipeline.storage"),
    "pipeline.storage.run": ("pipeline", "pipeline.config.*", "pipeline.storage", "pipeline.storage.parquet"),
    "pipeline.engines": ("pipeline", "pipeline.config.*", "pipeline.core", "pipeline.storage", "pipeline.engines.*"),
    "pipeline.engines.text": (
        *("pipeline", "pipeline.config.*", "pipeline.core", "pipeline.storage", "pipeline.engines"),
        "pipeline.engines.synthetic",
    ),
    "pipeline.engines.vllm": ("pipeline", "pipeline.config.*", "pipeline.core", *ENGINES),
    "pipeline.engines.http": ("pipeline", "pipeline.config.*", "pipeline.core", *ENGINES),
    "pipeline.engines.synthetic": ("pipeline", "pipeline.config.*", "pipeline.core", *ENGINES),
    "pipeline.rewards": (),
    "pipeline.rewards.model": (
        "pipeline",
        "pipeline.config.*",
        "pipeline.core",
        *ENGINES,
        "pipeline.storage",
    ),
    "pipeline.rewards.serving": (
        "pipeline",
        "pipeline.config.*",
        *ENGINES,
        "pipeline.engines.vllm",
        "pipeline.rewards.model",
    ),
    "pipeline.rewards.packing": ("pipeline",),
    "pipeline.rewards.policy": (
        *("pipeline", "pipeline.config.*", "pipeline.rewards.model", "pipeline.rewards.packing"),
        *("pipeline.rewards.policy.objectives", "pipeline.rewards.training"),
    ),
    "pipeline.rewards.policy.objectives": (
        *("pipeline", "pipeline.config.*", "pipeline.rewards.packing", "pipeline.rewards.policy"),
    ),
    "pipeline.rewards.training": (
        "pipeline",
        "pipeline.config.*",
        "pipeline.core",
        *ENGINES,
        "pipeline.rewards.model",
        "pipeline.rewards.packing",
        "pipeline.storage.*",
    ),
    # stages, in the order in which one may know another
    "pipeline.stages": (),
    "pipeline.stages.problems": (
        "pipeline",
        "pipeline.config.*",
        "pipeline.core.*",
        "pipeline.storage",
        "verifiers.*",
        "pipeline.stages.problems.datasets",
    ),
    "pipeline.stages.problems.datasets": ("pipeline", "verifiers", "verifiers.extraction"),
    "pipeline.stages.leases": (
        *("pipeline", "pipeline.config.*", "pipeline.core", "pipeline.storage.*", *ENGINES, "verifiers.*"),
        "pipeline.core.assignment",
        "pipeline.stages.problems",
    ),
    "pipeline.stages.checking": (
        *("pipeline", "pipeline.config.*", "pipeline.core", "pipeline.storage", *ENGINES, "verifiers.*"),
        "pipeline.stages.problems",
    ),
    "pipeline.stages.variants": (
        *("pipeline", "pipeline.config.*", "pipeline.core.*", "pipeline.storage", *ENGINES),
        *("verifiers.*", "sandboxes", "pipeline.stages.problems", "pipeline.stages.checking"),
    ),
    "pipeline.stages.dataset": (
        *("pipeline", "pipeline.config.*", "pipeline.core.*", "pipeline.storage.*", *ENGINES, "verifiers.*"),
        *("pipeline.stages.problems", "pipeline.stages.leases", "pipeline.stages.checking"),
    ),
    "pipeline.stages.dataset.maintenance": (
        *("pipeline", "pipeline.config.*", "pipeline.core.*", "pipeline.storage.*", "verifiers.*"),
        *("pipeline.stages.problems", "pipeline.stages.leases", "pipeline.stages.checking", "pipeline.stages.dataset"),
    ),
    "pipeline.stages.tools": (
        *("pipeline", "pipeline.config.*", "pipeline.core", "verifiers.*", "sandboxes", "pipeline.stages.problems"),
        "pipeline.core.assignment",
    ),
    "pipeline.stages.rollout": (
        *("pipeline", "pipeline.config.*", "pipeline.core.*", "pipeline.storage.*", *ENGINES, "verifiers.*"),
        *("pipeline.stages.leases", "pipeline.stages.checking", "pipeline.stages.dataset", "sandboxes"),
        *("pipeline.stages.tools", "pipeline.stages.rollout.commands"),
    ),
    "pipeline.stages.rollout.commands": (
        *("pipeline", "pipeline.config.*", "pipeline.core", "pipeline.core.search", *ENGINES, "verifiers.*"),
        *("sandboxes", "pipeline.stages.leases", "pipeline.stages.checking", "pipeline.stages.tools"),
        "pipeline.stages.rollout",
    ),
    "pipeline.stages.training": (
        *("pipeline", "pipeline.config.*", "pipeline.core.*", "pipeline.storage.*", "pipeline.engines.*"),
        *("pipeline.rewards.*", "verifiers.*", "pipeline.stages.problems", "pipeline.stages.dataset"),
    ),
    "pipeline.stages.export": (
        *(
            "pipeline",
            "pipeline.config.*",
            "pipeline.core.*",
            "pipeline.storage.*",
            *ENGINES,
            "verifiers.*",
        ),
        *("pipeline.stages.problems", "pipeline.stages.dataset", "pipeline.stages.training"),
    ),
    "pipeline.stages.export.formats": (
        *("pipeline", "pipeline.config.*", "pipeline.core.*", "pipeline.storage.*", *ENGINES, "verifiers.*"),
        *("pipeline.stages.problems", "pipeline.stages.dataset", "pipeline.stages.training", "pipeline.stages.export"),
    ),
    "pipeline.stages.evaluation": (
        *("pipeline", "pipeline.config.*", "pipeline.core.*", "pipeline.storage", "verifiers.*"),
        "pipeline.stages.dataset",
    ),
    # beside the runtime, read by the command line alone
    "pipeline.planning": (
        *("pipeline", "pipeline.config.*", "pipeline.core.*", "pipeline.storage.*"),
        *("pipeline.stages.problems", "pipeline.stages.rollout", "pipeline.stages.dataset"),
        "pipeline.planning.formulas",
    ),
    "pipeline.planning.formulas": ("pipeline", "pipeline.config.*", "pipeline.core", "pipeline.planning"),
    "pipeline.report.browser": ("pipeline", "pipeline.core.*", "pipeline.stages.dataset"),
    "pipeline.report.view": (
        *("pipeline", "pipeline.storage.*", "pipeline.report", "pipeline.report.browser"),
        "pipeline.stages.dataset",
    ),
    "pipeline.report.page": (
        *(
            "pipeline",
            "pipeline.storage.*",
            "pipeline.report",
            "pipeline.report.browser",
            "pipeline.report.pictures",
            "pipeline.stages.dataset",
            "pipeline.stages.export",
            "pipeline.stages.problems",
        ),
    ),
    "pipeline.report.pictures": (
        *("pipeline", "pipeline.config.*", "pipeline.core.*", "pipeline.storage.*", "pipeline.planning"),
        *("pipeline.report", "pipeline.stages.dataset", "pipeline.stages.evaluation"),
    ),
    "pipeline.report": (
        *("pipeline", "pipeline.config.*", "pipeline.core.*", "pipeline.storage.*", "pipeline.planning"),
        "pipeline.report.pictures",
        *("pipeline.stages.leases", "pipeline.stages.dataset", "pipeline.stages.training"),
        "pipeline.stages.evaluation",
    ),
    # runtime: the one importer of Ray
    "pipeline.runtime": ("pipeline", "pipeline.core", "pipeline.stages.leases"),
    "pipeline.runtime.monitoring": (
        *("pipeline", "pipeline.config.*", "pipeline.core", "pipeline.storage.*", *ENGINES, "sandboxes"),
        *("pipeline.stages.leases", "pipeline.stages.dataset", "pipeline.runtime"),
    ),
    "pipeline.runtime.actors": (
        *("pipeline", "pipeline.config.*", "pipeline.core.*", "pipeline.storage.*", *ENGINES),
        *("pipeline.rewards", "pipeline.rewards.model", "pipeline.rewards.serving", "verifiers.*", "sandboxes"),
        *("pipeline.stages.leases", "pipeline.stages.checking", "pipeline.stages.rollout"),
        *("pipeline.runtime", "pipeline.runtime.monitoring"),
    ),
    "pipeline.runtime.cluster": (
        *("pipeline", "pipeline.config.*", "pipeline.core", "pipeline.storage.*", *ENGINES, "verifiers.*"),
        *("sandboxes", "pipeline.stages.leases", "pipeline.stages.rollout"),
        *("pipeline.runtime", "pipeline.runtime.monitoring", "pipeline.runtime.actors"),
    ),
    "pipeline.runtime.driver": (
        *("pipeline", "pipeline.config.*", "pipeline.core.*", "pipeline.storage.*", *ENGINES),
        *("pipeline.rewards.model", "pipeline.stages.*", "pipeline.runtime.*", "verifiers.*", "sandboxes"),
    ),
    "pipeline.cli": (
        *("pipeline", "pipeline.config.*", "pipeline.core.*", "pipeline.storage.*", *ENGINES),
        *("pipeline.stages.*", "pipeline.planning", "pipeline.report.*", "pipeline.runtime.*"),
        *("verifiers", "verifiers.specs", "verifiers.kinds", "verifiers.proofs", "sandboxes", "sandboxes.attacks"),
    ),
    "pipeline.api": (  # the public face, above all
        *("pipeline", "pipeline.config.*", "pipeline.storage.*", "pipeline.stages.*", "pipeline.runtime.driver"),
        *("pipeline.cli", "verifiers", "sandboxes"),
    ),
    # verifiers and sandboxes know nothing of the pipeline, and sandboxes nothing of verifiers
    "verifiers": ("verifiers.*", "sandboxes", "sandboxes.jobs", "sandboxes.host"),
    "verifiers.specs": ("verifiers", "sandboxes"),
    "verifiers.extraction": ("verifiers", "verifiers.specs"),
    "verifiers.maths.expressions": (),
    "verifiers.maths.answers": ("verifiers.maths.expressions",),
    "verifiers.maths": ("verifiers", "verifiers.specs", "verifiers.maths.expressions", "verifiers.maths.answers"),
    "verifiers.proofs": ("verifiers", "verifiers.specs", "sandboxes", "sandboxes.jobs"),
    "verifiers.kinds": ("verifiers.*", "sandboxes", "sandboxes.jobs", "sandboxes.host"),
    "verifiers.kinds.programs": ("verifiers.*", "sandboxes", "sandboxes.jobs", "sandboxes.host"),
    "verifiers.kinds.texts": ("verifiers.*", "sandboxes", "sandboxes.jobs", "sandboxes.host"),
    "sandboxes": ("sandboxes.host", "sandboxes.jobs", "sandboxes.jail"),
    "sandboxes.jobs": ("sandboxes", "sandboxes.host", "sandboxes.inside", "sandboxes.jail"),
    "sandboxes.host": ("sandboxes", "sandboxes.inside.*", "sandboxes.jail"),
    "sandboxes.inside": ("sandboxes", "sandboxes.inside.fast_fork", "sandboxes.jail"),
    "sandboxes.inside.fast_fork": ("sandboxes", "sandboxes.inside", "sandboxes.jail"),
    "sandboxes.jail": (),
    "sandboxes.attacks": ("sandboxes",),
}

WORKER = "pipeline.stages.rollout.worker"  # what serves a lease; only actors have one
WORKER_OWNERS = ("pipeline.runtime.actors.", "pipeline.stages.rollout.")
COORDINATOR = "pipeline.runtime.driver.coordinator"
OUT_OF_THE_COORDINATOR = ("pipeline.engines.*", "pipeline.storage.*", "ray.*", "pyarrow.*", "vllm.*", "torch.*")
RECORDS_OF_ENGINES = "pipeline.engines.base"
HEAVY = {
    "ray": "pipeline.runtime.",
    "vllm": "pipeline.engines.vllm.",
    "torch": "pipeline.engines. pipeline.rewards.",
    "transformers": "pipeline.engines. pipeline.rewards.",
}
IMPURE = (
    *("asyncio", "datetime", "io", "os", "pathlib", "pyarrow", "random", "secrets", "socket", "subprocess"),
    *("tempfile", "threading", "time"),
)


# ---- what imports what ----------------------------------------------------------------------------------------------


@cache
def modules() -> dict[str, Path]:
    """Every file of ours by the name it is imported by, without the leading `berry.`."""
    return {_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(module: str) -> str:
    if module in WALLS:
        return module
    return ".".join(modules()[module].relative_to(ROOT).parent.parts)


@cache
def tree_of(module: str) -> ast.Module:
    """Without garbage collection: a finalizer that fails meanwhile has its traceback printed, for which Python 3.11
    parses too, and the outer call then ends with "AST constructor recursion depth mismatch"."""
    gc.disable()
    try:
        return ast.parse(modules()[module].read_text(encoding="utf-8"))
    finally:
        gc.enable()


def imports(tree: ast.AST) -> Iterator[str]:
    """Every name that is imported, at the top, inside a function or for types alone: `berry.x.y` as `x.y`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("berry.") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            module = (node.module or "").removeprefix("berry.")
            inner = [f"{module}.{alias.name}" for alias in node.names]
            yield from ([name for name in inner if name in modules()] or [module])


Graph = dict[str, set[str]]  # a file, and those that it imports


@cache
def graph() -> Graph:
    return {m: {name for name in imports(tree_of(m)) if name in modules() and name != m} for m in modules()}


def edges() -> list[tuple[str, str]]:
    return [(module, target) for module, targets in graph().items() for target in targets]


def circles(files: Graph) -> list[str]:
    """The strongly connected components of more than one file."""
    below = {module: _reached_from(module, files) for module in files}
    groups = {frozenset(other for other in below[m] if m in below[other]) for m in files if m in below[m]}
    return sorted(" ".join(sorted(group)) for group in groups)


def _reached_from(module: str, files: Graph) -> set[str]:
    reached: set[str] = set()
    open_ = [*files[module]]
    while open_:
        at = open_.pop()
        if at not in reached:
            reached.add(at)
            open_.extend(files.get(at, ()))
    return reached


def loaded_by(module: str) -> set[str]:
    """All that importing a module imports, ours by name and others' too; what is inside functions or for types alone
    is not."""
    reached: set[str] = set()
    open_ = [module]
    while open_:
        at = open_.pop()
        if at in reached:
            continue
        reached.add(at)
        if at in modules():
            open_.extend(name for node in _at_import(tree_of(at).body) for name in imports(node))
    return reached


def _at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Import statements that run when the file is imported."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test) != "TYPE_CHECKING":
            yield from _at_import([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from _at_import([*node.body, *node.orelse, *node.finalbody])


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(name == p.removesuffix(".*") or fnmatchcase(name, p) for p in patterns)


# ---- walls ----------------------------------------------------------------------------------------------------------


def test_every_package_has_a_wall() -> None:
    assert {package_of(module) for module in modules()} == set(WALLS)


@pytest.mark.parametrize("package", WALLS)
def test_a_package_imports_what_its_wall_allows(package: str) -> None:
    offenders = [
        f"{module} imports {target}"
        for module, target in edges()
        if package_of(module) == package
        and package_of(target) != package
        and not _matches(package_of(target), WALLS[package])
    ]
    assert offenders == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(graph()) == []


def test_records_stand_below_the_worker() -> None:
    offenders = [
        f"{module} imports {WORKER}"
        for module, target in edges()
        if target == WORKER and not module.startswith(WORKER_OWNERS)
    ]
    assert offenders == []


def test_the_coordinator_knows_no_engine_file_or_ray() -> None:
    loaded = loaded_by(COORDINATOR) - {RECORDS_OF_ENGINES}
    offenders = [
        f"{COORDINATOR} reaches {pattern}"
        for pattern in OUT_OF_THE_COORDINATOR
        if any(_matches(name, (pattern,)) for name in loaded)
    ]
    assert offenders == []


@pytest.mark.parametrize("name", HEAVY)
def test_what_is_heavy_is_imported_where_it_belongs(name: str) -> None:
    offenders = [
        f"{module} imports {target}"
        for module in modules()
        for target in imports(tree_of(module))
        if target.split(".")[0] == name and not module.startswith(tuple(HEAVY[name].split()))
    ]
    assert offenders == []


def test_the_core_is_pure() -> None:
    offenders = [
        f"{module} imports {target}"
        for module in modules()
        if module.startswith("pipeline.core")
        for target in imports(tree_of(module))
        if target.split(".")[0] in IMPURE
    ]
    assert offenders == []


# ---- the tests themselves -------------------------------------------------------------------------------------------


def test_what_is_forbidden_would_be_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set()}) == ["a b c"]
    assert "ray" in {name.split(".")[0] for name in imports(tree_of("pipeline.runtime.actors.rollout_actor"))}
    assert "pyarrow.parquet" in loaded_by("pipeline.storage.parquet.shards")
    assert "pipeline.engines.vllm.engine" in graph()["pipeline.engines.build"]  # from inside a function
    assert not _matches("pipeline.core.search", ("pipeline.core",))
    assert _matches("pipeline.core.search", ("pipeline.core.*",))
