"""Packing for a machine without network, and installing there: with one small wheel in place of the many real ones."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "deploy" / "airgapped"
pytestmark = pytest.mark.slow


def run(script: Path, *words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(script), *map(str, words)]
    own = {"PYTHON": sys.executable, "ANY_GPU": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | own | env, check=False)


def closure(*words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / "closure.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | env, check=False)


def wheel(folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(folder / "carried-1.0-py3-none-any.whl", "w") as made:
        made.writestr("carried.py", "WORD = 'it came along'\n")
        made.writestr("carried-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: carried\nVersion: 1.0\n")
        made.writestr("carried-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr("carried-1.0.dist-info/RECORD", "")


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("airgapped")
    wheel(folder / "wheels")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    words = ("--wheels", folder / "wheels", "--model", folder / "model", "--piece-mb", "1")
    done = run(SCRIPTS / "pack.sh", folder / "pack", *words)
    assert done.returncode == 0, done.stderr
    assert len(list((folder / "pack").glob("piece-*"))) > 1
    return folder / "pack"


@pytest.fixture
def carried(pack: Path, tmp_path: Path) -> Path:
    """The pack as it was carried over."""
    return Path(shutil.copytree(pack, tmp_path / "pack"))


def test_what_was_packed_installs_and_starts_without_network(carried: Path, tmp_path: Path) -> None:
    packages = sysconfig.get_paths()["purelib"]
    already = os.pathsep.join([packages, *(p for p in sys.path if p.endswith("site-packages"))])
    done = run(carried / "install.sh", tmp_path / "there", PYTHONPATH=already, PIP_NO_INDEX="1")
    assert done.returncode == 0, done.stderr
    python = tmp_path / "there" / "venv" / "bin" / "python"
    code = "import berry, carried; print(berry.__file__, carried.WORD)"
    env = os.environ | {"PYTHONPATH": already}
    printed = subprocess.run([python, "-P", "-c", code], capture_output=True, text=True, check=True, env=env).stdout
    assert printed.strip() == f"{tmp_path / 'there' / 'berry' / 'berry' / '__init__.py'} it came along"
    assert (tmp_path / "there" / "models" / "model" / "config.json").is_file()


def test_a_piece_that_is_missing_or_damaged_is_named_before_anything_is_written(carried: Path, tmp_path: Path) -> None:
    first, second, *_ = sorted(carried.glob("piece-*"))
    first.write_bytes(first.read_bytes()[:-1] + b"?")
    second.unlink()
    done = run(carried / "install.sh", tmp_path / "there")
    assert done.returncode == 2
    assert first.name in done.stderr
    assert second.name in done.stderr
    assert not (tmp_path / "there").exists()


def test_another_python_is_refused(carried: Path, tmp_path: Path) -> None:
    (carried / "PYTHON").write_text("2.7\n")
    done = run(carried / "install.sh", tmp_path / "there")
    assert done.returncode == 2
    assert "the pack is for Python 2.7" in done.stderr
    assert not (tmp_path / "there").exists()


def test_another_torch_is_refused(carried: Path, tmp_path: Path) -> None:
    (carried / "TORCH").write_text("1.0.0\n")
    done = run(carried / "install.sh", tmp_path / "there")
    assert done.returncode == 2
    assert "the pack is for torch 1.0.0" in done.stderr
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    ("smi", "told"),
    [("exit 9", "install NVIDIA's driver"), ("echo 4096", "has 4096 MiB of memory, an engine wants 8000")],
)
def test_without_a_driver_or_with_too_small_a_gpu_nothing_is_installed(
    carried: Path, tmp_path: Path, smi: str, told: str
) -> None:
    (tmp_path / "bin").mkdir()
    stub = tmp_path / "bin" / "nvidia-smi"
    stub.write_text(f"#!/bin/sh\n{smi}\n")
    stub.chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = run(carried / "install.sh", tmp_path / "there", ANY_GPU="", PATH=path)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "give the folder to write to"),
        (("out", "--have", "nowhere.txt"), "pip freeze"),
        (("out", "--model", "nowhere"), "no such folder"),
        (("out", "--left-out", "nowhere.txt"), "none carries all"),
        (("out", "--pieces", "3"), "there is no option --pieces"),
    ],
)
def test_what_is_asked_wrongly_is_said_before_anything_is_fetched(
    words: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    done = subprocess.run(["bash", SCRIPTS / "pack.sh", *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_a_command_imports_is_measured_in_its_children_too(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels")
    with zipfile.ZipFile(next((tmp_path / "wheels").glob("*.whl"))) as packed:
        packed.extractall(tmp_path / "site")
    (tmp_path / "site" / "carried-1.0.dist-info" / "RECORD").write_text(
        "carried.py,,24\ncarried-1.0.dist-info/RECORD,,\n"
    )
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import carried'], check=True)"
    site = {"PYTHONPATH": str(tmp_path / "site")}
    done = closure("record", tmp_path / "seen.txt", "--", sys.executable, "-c", code, **site)
    assert done.returncode == 0, done.stderr
    found = closure("packages", tmp_path / "seen.txt", **site).stdout.split()
    assert "carried" in found
    assert "ray" not in found
    (tmp_path / "nothing.txt").touch()
    told = closure("packages", tmp_path / "nothing.txt", "--all", **site).stdout.splitlines()
    assert any(line.startswith("# not imported:") and line.endswith("carried") for line in told)


def test_what_is_there_in_that_version_is_not_carried(tmp_path: Path) -> None:
    (tmp_path / "whole.txt").write_text("numpy==2.3.5\nJinja2==3.1.6 ; python_version > '3'\nray==2.59.0\n")
    (tmp_path / "have.txt").write_text("jinja2==3.1.6\nnumpy==2.5.5\ntorch @ file:///torch.whl\n")
    done = closure("choose", tmp_path / "whole.txt", tmp_path / "have.txt")
    assert done.stdout.split() == ["numpy==2.3.5", "ray==2.59.0"]


def test_a_loosened_wheel_holds_what_it_held(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels")
    (made,) = (tmp_path / "wheels").glob("*.whl")
    with zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("carried_data.txt", "a" * 10_000)
    with zipfile.ZipFile(made) as packed:
        before = {item.filename: (packed.read(item), item.external_attr) for item in packed.infolist()}
    assert closure("loosen", tmp_path / "wheels").returncode == 0
    with zipfile.ZipFile(made) as packed:
        assert {item.compress_type for item in packed.infolist()} == {zipfile.ZIP_STORED}
        assert {item.filename: (packed.read(item), item.external_attr) for item in packed.infolist()} == before


def test_each_package_left_out_says_what_it_is_for() -> None:
    lines = [line for line in (SCRIPTS / "left_out.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 5
    for line in lines:
        package, why = re.fullmatch(r"([a-z0-9-]+) ; sys_platform == 'never' +# (.+)", line).groups()  # type: ignore[union-attr]
        assert package
        assert why
