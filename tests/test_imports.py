"""The walls of the design, section 3: which package may import what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "verifiers", "sandboxes")


def sources() -> list[Path]:
    return [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def offenders(folder: str, forbidden: tuple[str, ...], allowed: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources()
        if path.relative_to(ROOT).as_posix().startswith(folder)
        for name in imports(path)
        if any(name == f or name.startswith(f + ".") for f in forbidden)
        and not any(name == a or name.startswith(a + ".") for a in allowed)
    ]


def test_only_the_runtime_imports_ray() -> None:
    found = [o for o in offenders("", ("ray",)) if not o.startswith("pipeline/runtime/")]
    assert found == []


def test_only_the_engines_import_vllm() -> None:
    found = [o for o in offenders("", ("vllm",)) if not o.startswith("pipeline/engines/")]
    assert found == []


def test_only_engines_and_rewards_import_torch_and_transformers() -> None:
    found = [
        o
        for o in offenders("", ("torch", "transformers"))
        if not o.startswith(("pipeline/engines/", "pipeline/rewards/"))
    ]
    assert found == []


def test_the_core_is_pure() -> None:
    io = (
        "asyncio",
        "os",
        "time",
        "random",
        "subprocess",
        "socket",
        "pathlib",
        "pyarrow",
        "datetime",
        "secrets",
    )
    mine = offenders(
        "pipeline/core/",
        ("pipeline", *io),
        allowed=("berry.pipeline.core", "berry.pipeline.records", "berry.pipeline.errors", "berry.pipeline.config"),
    )
    assert mine == []


@pytest.mark.parametrize("package", ["verifiers", "sandboxes"])
def test_verifiers_and_sandboxes_stand_alone(package: str) -> None:
    assert offenders(f"{package}/", ("pipeline",)) == []


def test_sandboxes_know_no_verifier() -> None:
    assert offenders("sandboxes/", ("verifiers",)) == []


@pytest.mark.parametrize(
    ("folder", "above"),
    [
        ("pipeline/stages/", ("berry.pipeline.runtime", "berry.pipeline.cli")),
        ("pipeline/storage/", ("berry.pipeline.stages", "berry.pipeline.runtime", "berry.pipeline.cli")),
        ("pipeline/engines/", ("berry.pipeline.stages", "berry.pipeline.runtime", "berry.pipeline.cli")),
        ("pipeline/runtime/", ("berry.pipeline.cli",)),
    ],
)
def test_imports_point_downwards(folder: str, above: tuple[str, ...]) -> None:
    assert offenders(folder, above) == []


def test_a_forbidden_import_would_be_found() -> None:
    assert "pipeline/runtime/actors/rollout_actor.py imports ray" in offenders("", ("ray",))
