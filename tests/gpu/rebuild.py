"""On the GPU machine: puts the pieces together, installs from them without network, and runs the check.

    python3 rebuild.py --check                 into ./berry-gpu; pieces, manifest.json and the .py files lie beside it

pieces ─► repository, wheels, models ─► a virtual environment that borrows torch from this Python ─► check.py
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import venv
from collections.abc import Sequence
from pathlib import Path

from pieces import Manifest, PackError, join, read_manifest

HERE = Path(__file__).resolve().parent
BORROWED = "borrowed.pth"


def fits(manifest: Manifest) -> None:
    """Raises PackError where the pack is for another Python or torch than this one's."""
    target = manifest.made["target"]
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if here != target["python"]:
        raise PackError(
            f"the pack is for Python {target['python']}, this is {here}: run this with python{target['python']}, or "
            f"pack with --python {here}"
        )
    found = _torch_version()
    if found.split("+")[0] != target["torch"]:
        raise PackError(
            f"the pack is for torch {target['torch']}, this Python has {found}: pack with --torch and the --vllm that "
            "wants it"
        )


def _torch_version() -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return "none"


def install(root: Path) -> Path:
    """The environment's Python. What the pack brings comes before what this Python has."""
    with tarfile.open(root / "repository.tar") as tar:
        tar.extractall(root / "berry", filter="data")
    environment = root / "venv"
    try:
        venv.create(environment, with_pip=True, clear=True)
    except subprocess.CalledProcessError:  # no ensurepip here: this Python's pip does it
        venv.create(environment, clear=True)
    python = environment / "bin" / "python"
    own = Path(_out(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    borrowed = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (own / BORROWED).write_text("\n".join(borrowed) + "\n")
    wheels = sorted(map(str, (root / "wheels").glob("*.whl")))
    sources = sorted(map(str, (root / "sources").glob("*")))
    _pip(python, wheels)
    if sources:
        _pip(python, ["--no-build-isolation", *sources])
    _pip(python, ["--no-build-isolation", "--editable", str(root / "berry")])
    return python


def _pip(python: Path, words: Sequence[str]) -> None:
    own = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
    pip = [python, "-m", "pip"] if own else [sys.executable, "-m", "pip", "--python", python]
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    options += ["--no-compile", "--ignore-installed"]
    done = subprocess.run([*pip, "install", *options, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackError(f"pip can't install {words[-1]} and others: {done.stderr.strip()[-2000:]}")


def _out(python: Path, code: str) -> str:
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def whole(python: Path) -> None:
    """Raises PackError that lists what the new environment lacks."""
    command = [python, HERE / "closure.py", "berry-pipeline[train]", "vllm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackError(f"the environment lacks: {done.stdout.strip() or done.stderr.strip()[-1000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pieces", type=Path, default=HERE, help="where they lie (default: beside this file)")
    parser.add_argument("--to", type=Path, default=Path("berry-gpu"))
    parser.add_argument("--check", action="store_true", help="go on with check.py; options after -- are its own")
    parser.add_argument("rest", nargs="*", metavar="-- OPTION", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    root = asked.to.resolve()
    try:
        fits(read_manifest(asked.pieces))
        join(asked.pieces, root, progress=print)
        print("installing, about a minute", flush=True)
        python = install(root)
        whole(python)
    except PackError as error:
        sys.exit(f"error: {error}")
    command = [str(python), str(root / "berry" / "tests" / "gpu" / "check.py"), "--results", str(root / "results")]
    command += asked.rest
    environment = {"BERRY_CACHE": str(root / "cache"), "BERRY_REVISION": read_manifest(asked.pieces).made["revision"]}
    if not asked.check:
        print("whole. Now:", *(f"{k}={v}" for k, v in environment.items()), *command)
        return
    sys.exit(subprocess.run(command, env={**os.environ, **environment}, cwd=root / "berry", check=False).returncode)


if __name__ == "__main__":
    main()
