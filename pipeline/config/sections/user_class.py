"""Configures a class of the user's own that runs in the jail: a tool, an environment.

    target: "dice.py:Dice"          a file, relative to the configuration's folder ─► its text, kept in `source`
    target: "mypackage.dice:Dice"   a module that is installed here and where the sandboxes are

The class is never imported outside the jail: what it says of itself is read from its text.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationInfo, model_validator

from berry.pipeline.config.reading.base import Section


class UserClass(Section):
    """A class in a file or a package."""

    target: str = Field(pattern=r"^[^:]+:[A-Za-z_]\w*$")
    """The class: `file.py:Class`, relative to the configuration's folder, or `package.module:Class`, which has to be
    installed here and where the sandboxes are."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Plain data that the class is given when it is made, by name."""
    source: str | None = None
    """The file's text. It is filled in when the configuration is read, and a run that goes on has to have the same."""

    @model_validator(mode="after")
    def _reads_its_file(self, info: ValidationInfo) -> Self:
        if self.source is None and self.is_file:
            path = Path((info.context or {}).get("base") or "", self.module)
            try:
                object.__setattr__(self, "source", path.read_text(encoding="utf-8"))
            except UnicodeDecodeError:
                raise ValueError(f"target {self.target!r}: {str(path)!r} is not UTF-8 text") from None
            except OSError as error:
                raise ValueError(f"target {self.target!r}: can't read {str(path)!r}: {error.strerror}") from None
        text = self.source if self.is_file else _text_of_module(self.module, self.target)
        if text is not None:
            self._check(text)
        return self

    @property
    def module(self) -> str:
        """The file or module."""
        return self.target.rpartition(":")[0]

    @property
    def class_name(self) -> str:
        return self.target.rpartition(":")[2]

    @property
    def is_file(self) -> bool:
        return self.module.endswith(".py")

    @property
    def declared(self) -> Mapping[str, Any]:
        """The class's attributes that are plain data, by name, as its text has them."""
        text = self.source if self.is_file else _text_of_module(self.module, self.target)
        found = None if text is None else _classes(ast.parse(text)).get(self.class_name)
        return {} if found is None else dict(_literals(found))

    def _check(self, text: str) -> None:
        """Raises ValueError where the text is no Python, or has no such class."""
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            raise ValueError(f"target {self.target!r}: line {error.lineno} is no Python: {error.msg}") from None
        classes = _classes(tree)
        if self.class_name not in classes and self.class_name not in _imported(tree):
            there = ", ".join(classes) or "none"
            raise ValueError(f"target {self.target!r}: {self.module} has no class {self.class_name} (classes: {there})")


def _classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _imported(tree: ast.Module) -> set[str]:
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom | ast.Import)]
    return {name.asname or name.name for node in imports for name in node.names}


def _literals(node: ast.ClassDef) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for line in node.body:
        match line:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        try:
            found.append((name, ast.literal_eval(value)))
        except ValueError:  # worked out when the class is made
            continue
    return found


def _text_of_module(module: str, target: str) -> str | None:
    """A module's text, found without importing anything; None where it is compiled. Raises ValueError where there is no
    such module."""
    path: list[str] | None = None
    spec = None
    parts = module.split(".")
    for at in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: at + 1]), path)
        if spec is None:
            raise ValueError(
                f"target {target!r}: there is no module {'.'.join(parts[: at + 1])!r} here: install it, or name a file "
                "(file.py:Class)"
            )
        path = list(spec.submodule_search_locations or ())
    origin = None if spec is None else spec.origin
    if origin is None or not origin.endswith(".py"):
        return None
    return Path(origin).read_text(encoding="utf-8")
