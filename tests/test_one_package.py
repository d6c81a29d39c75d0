"""One import package, `berry`: it alone is installed, code names modules by it, and a class name means one thing."""

from __future__ import annotations

import ast
import re
import tomllib

from setuptools import find_packages

from tests.test_imports import PACKAGES, ROOT, modules, package_of, tree_of


def test_only_berry_is_at_the_top() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    packages = find_packages(str(ROOT), include=settings["include"])
    assert {package.partition(".")[0] for package in packages} == {"berry"}
    wanted = {f"berry.{package_of(module)}" for module in modules()}
    assert wanted <= {*packages}, "what the wheel would leave out"


def test_no_code_names_a_module_without_its_package() -> None:
    ours = re.compile(rf"^\s*(?:from|import)\s+(?:{'|'.join(PACKAGES)})\b", re.MULTILINE)
    folders = (*PACKAGES, "tests", "deploy")
    offenders = [
        str(path.relative_to(ROOT))
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if ours.search(path.read_text(encoding="utf-8"))
    ]
    strings = [
        f"{module}: {node.value}"
        for module in modules()
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if "." in node.value and node.value in modules()
    ]
    assert offenders + strings == []


def test_no_class_name_is_defined_twice() -> None:
    homes: dict[str, list[str]] = {}
    for module in modules():
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name.lstrip("_"), []).append(module)
    assert {name: at for name, at in homes.items() if len(at) > 1} == {}
