"""Whether a set of Python packages is whole: which requirements of which are not met by the others.

    wheels in a folder  ─┐
    what is installed   ─┴─► {name: Held} ─► unmet(roots, held, environment) ─► lines

Markers are read for the machine the packages are for, not for the one that packs: pip does not do that.
`python closure.py NAME…` checks what is installed, from those names on.
"""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@dataclass(frozen=True)
class Held:
    version: str
    requires: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unmet:
    requirement: Requirement
    wanted_by: str
    found: str | None

    def __str__(self) -> str:
        return f"{self.requirement} (wanted by {self.wanted_by}): {self.found or 'not there'}"


def linux(python: str) -> dict[str, str]:
    """The markers' environment of CPython `python` (as in 3.12) on 64-bit x86 Linux."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }


def unmet(roots: Sequence[str], held: Mapping[str, Held], environment: Mapping[str, str] | None = None) -> list[Unmet]:
    """Requirements reachable from `roots` (requirements themselves) that `held` does not meet. `environment`: of the
    markers, None for this interpreter's."""
    out: dict[str, Unmet] = {}
    for requirement, by in _walk(roots, held, environment):
        there = held.get(canonicalize_name(requirement.name))
        if there is None or not requirement.specifier.contains(there.version, prereleases=True):
            out.setdefault(canonicalize_name(requirement.name), Unmet(requirement, by, there and there.version))
    return sorted(out.values(), key=str)


def reached(root: str, held: Mapping[str, Held], environment: Mapping[str, str] | None = None) -> set[str]:
    """Names of what `root` needs, itself included, as far as it is in `held`."""
    names: set[str] = {canonicalize_name(r.name) for r, _ in _walk([root], held, environment)}
    return names & held.keys()


def _walk(
    roots: Sequence[str], held: Mapping[str, Held], environment: Mapping[str, str] | None
) -> Iterator[tuple[Requirement, str]]:
    """Each requirement on the way, with the name of who wants it."""
    wanted = [(Requirement(root), "you") for root in roots]
    seen: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        requirement, by = wanted.pop()
        yield requirement, by
        name = canonicalize_name(requirement.name)
        if name not in held or (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        for text in held[name].requires:
            needed = Requirement(text)
            extras = ["", *requirement.extras]
            if needed.marker is None or any(
                needed.marker.evaluate({**(environment or {}), "extra": extra}) for extra in extras
            ):
                wanted.append((needed, name))


def of_wheels(paths: Iterable[Path]) -> dict[str, Held]:
    """What wheels hold, read without installing them."""
    held = {}
    for path in paths:
        with zipfile.ZipFile(path) as wheel:
            name = next(n for n in wheel.namelist() if n.count("/") == 1 and n.endswith(".dist-info/METADATA"))
            headers = HeaderParser().parsestr(wheel.read(name).decode())
        held[canonicalize_name(headers["Name"])] = Held(headers["Version"], tuple(headers.get_all("Requires-Dist", [])))
    return held


def of_installed() -> dict[str, Held]:
    """What this interpreter finds, the first of each name as an import would."""
    held: dict[str, Held] = {}
    for found in importlib.metadata.distributions():
        name = found.metadata["Name"]
        if name:
            held.setdefault(canonicalize_name(name), Held(found.version, tuple(found.requires or ())))
    return held


if __name__ == "__main__":
    lines = unmet(sys.argv[1:], of_installed())
    print("\n".join(map(str, lines)) or f"whole: {', '.join(sys.argv[1:])} and all they need")
    sys.exit(1 if lines else 0)
