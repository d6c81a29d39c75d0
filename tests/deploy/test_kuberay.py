"""The KubeRay manifests: the operator's fields, the cluster files' machines, and no more privilege than is needed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from berry.pipeline.config.sections.cluster import named_cluster
from berry.pipeline.core.placement import place_actors

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "deploy" / "kuberay"
NAMES = sorted(p.name for p in FOLDER.glob("*.yaml"))


def load(path: Path) -> Any:
    """A file that is no part of a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text())


def cluster_spec(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["spec"]["rayClusterSpec"] if manifest["kind"] == "RayJob" else manifest["spec"]


def test_there_is_a_job_and_a_cluster_for_every_kind_of_machine() -> None:
    assert (
        sorted(
            f"{name}.{kind}.yaml"
            for name in ("gb200-nvl72", "h100-cpu", "hgx-h100", "trainium2")
            for kind in ("cluster", "job")
        )
        == NAMES
    )


def test_the_files_are_what_the_cluster_files_say_now() -> None:
    made = load(FOLDER / "make.py").files()
    assert {name: (FOLDER / name).read_text() for name in NAMES} == made, "run python deploy/kuberay/make.py"


@pytest.mark.parametrize("name", NAMES)
def test_the_operator_knows_every_field(name: str) -> None:
    manifest = read(name)
    jsonschema.validate(manifest, load(HERE / "kuberay_schema.py").manifest(manifest["kind"]))


def test_the_schema_refuses_a_misspelt_field() -> None:
    manifest = read("hgx-h100.cluster.yaml")
    manifest["spec"]["workerGroupSpecs"][0]["minReplica"] = 1
    with pytest.raises(jsonschema.ValidationError, match="minReplica"):
        jsonschema.validate(manifest, load(HERE / "kuberay_schema.py").manifest("RayCluster"))


@pytest.mark.parametrize("name", NAMES)
def test_the_roles_of_the_cluster_file_fit_the_pods(name: str) -> None:
    cluster = named_cluster(name.split(".")[0])
    planned = place_actors(cluster)
    groups = cluster_spec(read(name))["workerGroupSpecs"]
    assert {g["groupName"]: g["replicas"] for g in groups} == {k: n.count for k, n in cluster.nodes.items()}
    roles = (planned.rollout, planned.reward, planned.sandbox)
    have_gpus = sum(int(g["rayStartParams"].get("num-gpus", 0)) * g["replicas"] for g in groups)
    have_cpus = sum(float(g["rayStartParams"]["num-cpus"]) * g["replicas"] for g in groups)
    assert sum(r.actors * r.gpus for r in roles) <= have_gpus
    assert sum(r.actors * r.cpus for r in roles) <= have_cpus
    for group in groups:
        assert group["labels"] == cluster.nodes[group["groupName"]].labels
        asked = group["template"]["spec"]["containers"][0]["resources"]["requests"]
        node = cluster.nodes[group["groupName"]]
        assert float(asked["cpu"]) == node.usable_cores * node.threads_per_core  # quotas count hardware threads
        device = "aws.amazon.com/neuron" if "trainium" in name else "nvidia.com/gpu"
        assert asked.get(device, "0") == group["rayStartParams"].get("num-gpus", "0")


@pytest.mark.parametrize("name", NAMES)
def test_no_pod_has_a_privilege(name: str) -> None:
    spec = cluster_spec(read(name))
    pods = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for pod in (p["template"]["spec"] for p in pods):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
