"""Measures which installed packages a command imports, in all processes that it starts: what a pack must carry.

    python closure.py record SEEN -- berry run configs/tiny.yaml     names of imported modules, added to the file SEEN
    python closure.py packages SEEN [--all]                          the packages that they come from, one a line
    python closure.py choose WHOLE HAVE                              of what would be installed, what is not there yet
    python closure.py loosen FOLDER                                  the wheels in it without compression of their own

Requirements that a package declares are many times what is imported on one path: servers, image and sound formats,
other devices. A name counts from the moment at which Python is asked for it, so a package that is tried and then not
used counts as well. `--all` also prints what is installed and was not asked for, with sizes.

WHOLE is what an installer would install, HAVE what `pip freeze` prints on the other machine: name==version lines. Loose
wheels take a third less once they are compressed together.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePosixPath
from zipfile import ZIP_STORED, ZipFile

# Runs at the start of every Python process below: writes each module's name when it is first asked for. The file is
# opened for each name, since sandboxes close what they did not open; a process that may not open it writes nothing.
HOOK = """
import os, sys
_seen = set()
def _hook(event, args, path=os.environ["BERRY_CLOSURE"]):
    if event == "import" and args[0] not in _seen:
        _seen.add(args[0])
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND)
            os.write(fd, (args[0] + "\\n").encode())
            os.close(fd)
        except OSError:
            pass
sys.addaudithook(_hook)
"""


def record(seen: Path, command: list[str]) -> int:
    """Runs the command; returns its exit status."""
    seen.touch()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(HOOK)
        paths = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "BERRY_CLOSURE": str(seen.resolve())}
        return subprocess.run(command, env=env, check=False).returncode


def modules_of(distribution: Distribution) -> set[str]:
    """Names of the modules that it installs, dotted."""
    names = set()
    for file in distribution.files or ():
        path = PurePosixPath(str(file))
        if path.suffix not in (".py", ".so") or ".." in path.parts:
            continue
        parts = [*path.parent.parts, path.name.split(".")[0]]
        names.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def imported(names: set[str]) -> tuple[list[str], list[tuple[int, str]]]:
    """Packages that the modules come from; and the others that are installed, with their bytes, largest first."""
    wanted, others = set(), []
    for distribution in distributions():
        name = distribution.metadata["Name"]
        if names & modules_of(distribution):
            wanted.add(name)
        else:
            others.append((sum(file.size or 0 for file in distribution.files or ()), name))
    return sorted(wanted, key=str.lower), sorted(others, reverse=True)


def choose(whole: Path, have: Path) -> list[str]:
    """What would be installed and is not there in that version, as name==version, in the order of names."""
    there = _pins(have)
    return [f"{name}=={version}" for name, version in sorted(_pins(whole).items()) if there.get(name) != version]


def loosen(wheel: Path) -> None:
    """Stores each file of the wheel as it is. Names, contents and modes stay."""
    loose = wheel.with_suffix(".loose")
    with ZipFile(wheel) as packed, ZipFile(loose, "w", ZIP_STORED) as out:
        for item in packed.infolist():
            content = packed.read(item)
            item.compress_type = ZIP_STORED
            out.writestr(item, content)
    loose.replace(wheel)


def _pins(file: Path) -> dict[str, str]:
    """The versions that a file of name==version lines names; markers behind a semicolon are left out."""
    lines = (line.split(";")[0].split("==", 1) for line in file.read_text().splitlines() if "==" in line)
    return {_plain(name): version.strip() for name, version in lines}


def _plain(name: str) -> str:
    """A package's name as the packaging standard compares it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["record", "packages", "choose", "loosen"])
    parser.add_argument("file", type=Path, help="SEEN, WHOLE or FOLDER")
    parser.add_argument("--all", action="store_true", help="with sizes what is installed and was not asked for")
    parser.add_argument("words", nargs="*", help="HAVE; for record the command, after --")
    args = parser.parse_args()
    if args.what != "record" and not args.file.exists():
        parser.error(f"{args.file}: no such file")
    if args.what == "record":
        if not args.words:
            parser.error("give the command after --, as in: closure.py record seen.txt -- berry run configs/tiny.yaml")
        return record(args.file, args.words)
    if args.what == "loosen":
        for wheel in sorted(args.file.glob("*.whl")):
            loosen(wheel)
        return 0
    if args.what == "choose":
        if len(args.words) != 1:
            parser.error("choose wants WHOLE HAVE")
        print("\n".join(choose(args.file, Path(args.words[0]))))
        return 0
    wanted, others = imported(set(args.file.read_text().split()))
    print("\n".join(wanted))
    if args.all:
        print("\n".join(f"# not imported: {size / 1e6:7.1f} MB  {name}" for size, name in others))
    return 0


if __name__ == "__main__":
    sys.exit(main())
