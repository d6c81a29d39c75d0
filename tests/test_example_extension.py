"""The example package, installed as pip leaves it, brings one of each part, and a whole run uses them together."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).with_name("example_extension")
CONFIG = """
problems: [{type: counting, count: 6}]
engine: {type: synthetic}
rollout: {policy: {type: pairs_of_samples, pairs: 2}}
pruning: [{type: keep_first, most: 1}]
storage: {lease_problems: 3}
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder of packages that holds the example and what its pyproject.toml announces."""
    folder = tmp_path / "site"
    shutil.copytree(EXAMPLE / "berry_example", folder / "berry_example")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
        for group, points in project["entry-points"].items()
    ]
    info = folder / "berry_example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    (info / "entry_points.txt").write_text("\n".join(groups))
    return folder


def berry(folder: Path, *words: str, path: Path | None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path)] if path else [])}
    command = [sys.executable, "-m", "berry", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, check=False)


@pytest.mark.slow
def test_a_run_uses_all_that_the_package_brings(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG)
    done = berry(tmp_path, "run", "c.yaml", "--local", "--run", "run", path=installed)
    assert done.returncode == 0, done.stderr + done.stdout
    code = (
        "import berry, json; run = berry.Run('run'); rows = list(run.trajectories());"
        "print(json.dumps([[r['problem_id'], r['verdict'], r['kept'], r['drop_reason']] for r in rows]))"
    )
    env = {**os.environ, "PYTHONPATH": str(installed)}
    read = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env)
    rows = json.loads(read.stdout)
    by_problem = {problem: [row for row in rows if row[0] == problem] for problem, *_ in rows}
    assert set(by_problem) == {f"count-{n}" for n in range(6)}
    for of_problem in by_problem.values():
        verdicts = [verdict for _, verdict, *_ in of_problem]
        assert len(verdicts) in (2, 4)
        assert len(verdicts) == 2 or "pass" not in verdicts[:2], "two more only where none of the first two passes"
        assert sum(kept for *_, kept, _ in of_problem) == 1
        assert {reason for *_, kept, reason in of_problem if not kept} == {"over_quota"}
    sent = berry(tmp_path, "export", "run", "--format", "plain", "--for", "trl", "-o", "out", path=installed)
    assert sent.returncode == 0, sent.stderr


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("type: counting", "type: conting", ["counting", "synthetic"]),
        ("type: pairs_of_samples", "type: pairs_of_sampels", ["pairs_of_samples", "best_of_n"]),
        ("type: keep_first", "type: keep_frist", ["keep_first", "verdict"]),
    ],
)
def test_a_name_that_nobody_brings_is_one_error_that_lists_what_there_is(
    installed: Path, tmp_path: Path, old: str, new: str, names: list[str]
) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG.replace(old, new))
    done = berry(tmp_path, "run", "c.yaml", "--local", path=installed)
    assert done.returncode == 2
    assert all(name in done.stderr for name in names), done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_package_its_names_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG)
    done = berry(tmp_path, "run", "c.yaml", "--local", path=None)
    assert done.returncode == 2
    for name in ("counting", "pairs_of_samples", "keep_first"):
        assert f"got '{name}'" in done.stderr
    assert "best_of_n" in done.stderr


def test_two_packages_with_one_name_are_refused_and_both_are_named(installed: Path, tmp_path: Path) -> None:
    other = installed / "berry_other-2.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: berry-other\nVersion: 2.0\n")
    (other / "entry_points.txt").write_text(
        "[berry.policies]\npairs_of_samples = berry_example.policy:PairsOfSamples\n"
    )
    (tmp_path / "c.yaml").write_text(CONFIG)
    done = berry(tmp_path, "run", "c.yaml", "--local", path=installed)
    assert done.returncode == 2
    assert "berry-example" in done.stderr
    assert "berry-other" in done.stderr
