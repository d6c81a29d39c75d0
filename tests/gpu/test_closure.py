from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import closure
import packing
from closure import Held, linux, of_wheels, reached, unmet

THERE = linux("3.12")


def lines(roots: list[str], held: dict[str, Held]) -> list[str]:
    return [str(line) for line in unmet(roots, held, THERE)]


def test_a_whole_set_lacks_nothing() -> None:
    held = {"engine": Held("2.0", ("torch==1.5", "Small_Lib>=1")), "torch": Held("1.5+cu130"), "small-lib": Held("1.0")}
    assert lines(["engine==2.0"], held) == []


def test_what_is_missing_or_of_a_wrong_version_is_told_with_who_wants_it() -> None:
    held = {"engine": Held("2.0", ("torch==1.5", "gone")), "torch": Held("1.6")}
    assert lines(["engine"], held) == ["gone (wanted by engine): not there", "torch==1.5 (wanted by engine): 1.6"]


def test_markers_are_read_for_the_other_machine() -> None:
    held = {
        "engine": Held("1", ("new; python_version > '3.11'", "old; python_version < '3.12'", "mac; os_name == 'nt'"))
    }
    assert lines(["engine"], held) == ['new; python_version > "3.11" (wanted by engine): not there']


def test_extras_bring_what_they_bring_and_only_when_asked() -> None:
    held = {"engine": Held("1", ("video; extra == 'video'", "engine[video]; extra == 'all'"))}
    assert lines(["engine"], held) == []
    assert lines(["engine[all]"], held) == ['video; extra == "video" (wanted by engine): not there']


def test_circles_end() -> None:
    held = {"a": Held("1", ("b",)), "b": Held("1", ("a", "c"))}
    assert lines(["a"], held) == ["c (wanted by b): not there"]
    assert reached("a", held, THERE) == {"a", "b"}


def test_wheels_are_read_without_installing_them(tmp_path: Path) -> None:
    packing.stand_in("Some-Thing", "1.2+there", tmp_path)
    held = of_wheels(tmp_path.glob("*.whl"))
    assert held == {"some-thing": Held("1.2+there")}
    assert lines(["some-thing==1.2"], held) == []


def test_what_torch_brings_stays_behind_and_what_others_need_does_not() -> None:
    target = packing.Target(torch="2.11.0")
    held = {
        "torch": Held("2.11.0", ("triton==3.6.0", "nvidia-cublas", "sympy", "cuda-toolkit[nvrtc]")),
        "cuda-toolkit": Held("13.0.2", ("nvidia-cuda-nvrtc==13.0.88.*; extra == 'nvrtc'",)),
        "triton": Held("3.6.0"),
        "nvidia-cublas": Held("13.1"),
        "nvidia-cuda-nvrtc": Held("13.0.88"),
        "nvidia-cudnn-frontend": Held("1.28"),
        "sympy": Held("1.14"),
        "torchvision": Held("0.26", ("torch==2.11.0",)),
    }
    assert packing.stays_behind(held, target) == {
        "torch",
        "triton",
        "nvidia-cublas",
        "cuda-toolkit",
        "nvidia-cuda-nvrtc",
    }


def test_the_pack_asks_for_all_that_a_run_needs() -> None:
    wanted = packing.requirements(packing.REPOSITORY / "pyproject.toml", packing.Target(vllm="0.23.0"))
    names = {closure.Requirement(line).name for line in wanted}
    assert {"ray", "duckdb", "math-verify", "reasoning-gym", "transformers", "peft", "vllm"} <= names
    assert "vllm==0.23.0" in wanted


def test_this_very_environment_can_be_asked() -> None:
    command = [sys.executable, closure.__file__]
    assert subprocess.run([*command, "pydantic"], check=False, capture_output=True).returncode == 0
    lacking = subprocess.run([*command, "no-such-thing-here"], check=False, capture_output=True, text=True)
    assert lacking.returncode == 1
    assert "no-such-thing-here (wanted by you): not there" in lacking.stdout
