"""Packs what a GPU machine without network lacks, in pieces small enough to carry: repository, wheels, models.

    python tests/gpu/packing.py build/gpu-pack

Run it in the environment that `make setup` made, with network. The folder then holds the pieces, manifest.json and
rebuild.py: copy all of it, in as many turns as it takes, and run `python3 rebuild.py --check` there.

The other machine has 64-bit x86 Linux, Python and torch with CUDA: torch and its CUDA libraries are not packed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from closure import Held, Unmet, linux, of_wheels, reached, unmet
from packaging.utils import canonicalize_name
from pieces import Manifest, PackError, split
from surface import lacking, of_wheel

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
CARRIED = ("rebuild.py", "pieces.py", "closure.py")
NO_WHEEL = ("cellpylib", "pycosat", "zss")  # of reasoning-gym; on the index as sources alone
TRANSFORMERS = "transformers>=5.5.1,<6"  # 5 is what the value models are tried with; vLLM 0.23 refuses 5.0 to 5.5.0
BIG = ("torch", "triton", "nvidia-", "cuda-toolkit")
MODELS = ("smollm2-135m",)  # the tiny model is part of the repository
PIECE_MB = 60
SECOND_LOOKS = 4


@dataclass(frozen=True)
class Target:
    """The machine to pack for. vLLM 0.23.0 is the release that wants torch 2.11.0."""

    python: str = "3.12"
    torch: str = "2.11.0"
    vllm: str = "0.23.0"
    glibc: int = 35  # 2.35, and older

    def platforms(self) -> list[str]:
        """pip matches these by name: a wheel for an older glibc is not found under a newer one's."""
        names = [f"manylinux_2_{minor}_x86_64" for minor in range(self.glibc, 4, -1)]
        return [*names, "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]


def requirements(pyproject: Path, target: Target) -> list[str]:
    """What a run and training need, with this very vLLM."""
    project = tomllib.loads(pyproject.read_text())["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *optional["train"], f"vllm=={target.vllm}", TRANSFORMERS]


def stand_in(name: str, version: str, folder: Path) -> Path:
    """A wheel without content or needs, for pip to find in place of what the other machine has. It is never packed."""
    base = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{base}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{base}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{base}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{base}.dist-info/RECORD", "")
    return path


def download(wanted: Sequence[str], target: Target, scratch: Path) -> tuple[list[Path], list[Path]]:
    """Wheels and, where no wheel can be made here for there, sources of `wanted` and all it needs; of torch and its
    CUDA libraries only the names are used: the other machine has them."""
    links, wheels = scratch / "links", scratch / "wheels"
    links.mkdir(parents=True)
    sources, stands = [], set()
    for name in NO_WHEEL:
        version = importlib.metadata.version(name)
        built = _built(f"{name}=={version}", scratch / "built" / name)
        if built.name.endswith("-none-any.whl"):
            shutil.copy(built, links)
        else:  # compiled for this Python: the other machine compiles its own
            _pip("download", "--no-deps", "--no-binary", ":all:", "-d", str(scratch / "sources"), f"{name}=={version}")
            sources += list((scratch / "sources").glob(f"{name}*"))
            stands.add(stand_in(name, version, links).name)
    options = [word for platform in target.platforms() for word in ("--platform", platform)]
    options += ["--python-version", target.python, "--only-binary", ":all:", "--find-links", str(links)]
    asked, deps = [*wanted, f"torch=={target.torch}"], []
    needed: list[Unmet] = []
    for _ in range(SECOND_LOOKS):
        _pip("download", *deps, *options, "-d", str(wheels), *asked)
        held = of_wheels(wheels.glob("*.whl"))
        needed = unmet(wanted, held, linux(target.python))
        if not needed:
            behind = stays_behind(held, target)
            kept = [p for p in sorted(wheels.glob("*.whl")) if p.name not in stands and wheel_name(p) not in behind]
            return kept, sources
        asked = [f"{u.requirement.name}{u.requirement.specifier}" for u in needed]  # pip read markers for this Python
        deps = ["--no-deps"]
        for path in list(wheels.glob("*.whl")):
            if wheel_name(path) in {canonicalize_name(u.requirement.name) for u in needed}:
                path.unlink()
    raise PackError(f"the package index does not give {', '.join(map(str, needed))}")


def stays_behind(held: Mapping[str, Held], target: Target) -> set[str]:
    """torch and its CUDA libraries: names of what came for torch alone or is torch's to choose."""
    return {n for n in reached(f"torch=={target.torch}", held, linux(target.python)) if n.startswith(BIG)}


def wheel_name(path: Path) -> str:
    return canonicalize_name(path.name.split("-")[0])


def _built(requirement: str, folder: Path) -> Path:
    _pip("wheel", "--no-deps", "-w", str(folder), requirement)
    return next(folder.glob("*.whl"))


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", words[0], "--quiet", "--disable-pip-version-check", *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no message"]
        raise PackError(f"pip {words[0]} failed: {said[-1]}")


def revision(repository: Path) -> str:
    """Of the commit that is packed. Changes that are not committed stay behind, and that is said."""
    if _git(repository, "status", "--porcelain"):
        print("note: changes that are not committed are not packed", file=sys.stderr)
    return _git(repository, "rev-parse", "HEAD")


def _git(repository: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(repository), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackError(f"git {words[0]} failed in {repository}: {done.stderr.strip()}: pack from a git checkout")
    return done.stdout.strip()


def collect(target: Target, scratch: Path) -> dict[str, Path]:
    """Everything to pack, by its name inside."""
    from berry.pipeline.engines import models

    files = {"repository.tar": scratch / "repository.tar"}
    _git(REPOSITORY, "archive", "--format=tar", f"--output={files['repository.tar']}", "HEAD")
    wanted = requirements(REPOSITORY / "pyproject.toml", target)
    print(f"fetching wheels for Python {target.python} around vllm {target.vllm}: minutes", file=sys.stderr)
    wheels, sources = download(wanted, target, scratch)
    check_release(next(path for path in wheels if wheel_name(path) == "vllm"))
    files |= {f"wheels/{path.name}": path for path in wheels} | {f"sources/{path.name}": path for path in sources}
    for name in MODELS:
        folder = Path(models.resolve(name, progress=lambda line: print(line, file=sys.stderr)))
        files |= {f"cache/models/{folder.name}/{p.name}": p for p in folder.iterdir() if p.is_file()}
    return files


def check_release(wheel: Path) -> None:
    """Raises PackError for a vLLM that lacks what the engine's module calls: better told here than there."""
    lines = lacking(of_wheel(wheel))
    if lines:
        raise PackError(f"{wheel.name} is no release to pack: {'; '.join(lines)}; pack another with --vllm")


def pack(target: Target, folder: Path, piece_mb: float) -> Manifest:
    folder.mkdir(parents=True, exist_ok=True)
    made = {"revision": revision(REPOSITORY), "target": asdict(target)}
    with tempfile.TemporaryDirectory(prefix=".gpu-pack-", dir=folder.parent) as scratch:
        manifest = split(collect(target, Path(scratch)), folder, piece_bytes=int(piece_mb * 1e6), made=made)
    for name in CARRIED:
        shutil.copy(HERE / name, folder)
    return manifest


def main() -> None:
    usual = Target()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default=usual.python, help="there (default: %(default)s)")
    parser.add_argument("--torch", default=usual.torch, help="there, without the part after + (default: %(default)s)")
    parser.add_argument("--vllm", default=usual.vllm, help="the release that wants this torch (default: %(default)s)")
    parser.add_argument("--glibc", type=int, default=usual.glibc, help="there, 2.N (default: %(default)s)")
    parser.add_argument("--piece-mb", type=float, default=PIECE_MB, help="at most (default: %(default)s)")
    asked = parser.parse_args()
    try:
        manifest = pack(Target(asked.python, asked.torch, asked.vllm, asked.glibc), asked.folder, asked.piece_mb)
    except PackError as error:
        sys.exit(f"error: {error}")
    told = {"files": manifest.files, "mb": round(manifest.size / 1e6, 1), "pieces": len(manifest.pieces)}
    print(json.dumps(told | manifest.made))


if __name__ == "__main__":
    main()
