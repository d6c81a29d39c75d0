"""Finds by name what can be added to Berry without touching it: policies, pruning rules, problem sources, exports.

    Berry's own ("module:attribute")  ─┐
    entry points of installed packages ├─► Registry.get(name) ─► the thing, imported when first asked for
    add(), from Python                ─┘

Nothing is imported to list names, so that a package that can't be imported harms only those who name what it brings.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from berry.pipeline.errors import ConfigError

T = TypeVar("T")

OWN = "berry-pipeline"  # the distribution that Berry's own names belong to


class Registry(Generic[T]):
    """Names of one kind (an entry point group such as `berry.policies`) and what they stand for.

    `own` maps Berry's own names to where they are defined, "module:attribute". `check` looks at what a name stands
    for when it is first loaded, and gives a sentence on what is wrong with it or None.
    """

    def __init__(self, group: str, own: Mapping[str, str], check: Callable[[str, T], str | None] | None = None) -> None:
        self.group = group
        self._own = dict(own)
        self._check = check
        self._loaded: dict[str, T] = {}
        self._added: set[str] = set()
        self._announced: dict[str, EntryPoint] | None = None

    def names(self) -> list[str]:
        """Every name there is: Berry's own first, then the others in order of the alphabet. Raises ConfigError where
        two packages register one name."""
        others = sorted({*self._entry_points(), *self._added} - self._own.keys())
        return [*self._own, *others]

    def own_names(self) -> list[str]:
        """The names that Berry brings itself."""
        return list(self._own)

    def get(self, name: str) -> T:
        """What `name` stands for. Raises ConfigError that lists what there is, or says why it can't be loaded."""
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def add(self, name: str, thing: T) -> None:
        """Register from Python, for this process. Raises ConfigError where the name is taken by something else."""
        if self._loaded.get(name) is thing:
            return
        if name in self.names():
            holder = "this program" if name in self._added else self._holder(name)
            raise ConfigError(f"{self.group}: {name!r} is registered already, by {holder}; choose another name")
        self._checked(name, thing, "this program")
        self._loaded[name] = thing
        self._added.add(name)

    def _entry_points(self) -> Mapping[str, EntryPoint]:
        if self._announced is None:
            announced: dict[str, EntryPoint] = {}
            for entry in entry_points(group=self.group):
                if entry.name in self._own or entry.name in announced:
                    first = OWN if entry.name in self._own else _package(announced[entry.name])
                    raise ConfigError(
                        f"{self.group}: {entry.name!r} is registered by two packages, {first} and {_package(entry)}; "
                        f"uninstall one of them"
                    )
                announced[entry.name] = entry
            self._announced = announced
        return self._announced

    def _holder(self, name: str) -> str:
        return OWN if name in self._own else _package(self._entry_points()[name])

    def _load(self, name: str) -> T:
        known = self.names()
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"{name!r} is not known{hint} (there are {', '.join(known)}; a package that brings more announces them "
                f"as entry points {self.group!r}, and must be installed here)"
            )
        if name in self._own:
            module, _, attribute = self._own[name].partition(":")
            return getattr(import_module(module), attribute)
        entry = self._entry_points()[name]
        try:
            thing: T = entry.load()
        except Exception as error:  # whatever a stranger's module raises while it is imported
            raise ConfigError(
                f"{self.group}: {name!r} of package {_package(entry)} can't be loaded from {entry.value}: "
                f"{type(error).__name__}: {error}"
            ) from error
        self._checked(name, thing, f"package {_package(entry)}")
        return thing

    def _checked(self, name: str, thing: T, holder: str) -> None:
        problem = self._check(name, thing) if self._check is not None else None
        if problem is not None:
            raise ConfigError(f"{self.group}: {name!r} of {holder} can't be used: {problem}")


def _package(entry: EntryPoint) -> str:
    """Name and version of the distribution that announces an entry point."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.value
