"""Writes the KubeRay manifests from the cluster files, so that the two can't disagree.

configs/clusters/NAME.yaml ─► deploy/kuberay/NAME.job.yaml (RayJob), NAME.cluster.yaml (RayCluster)

    python deploy/kuberay/make.py          # after a change of a cluster file; a test says when it was forgotten
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
CLUSTERS = HERE.parents[1] / "configs" / "clusters"
NAMES = ("hgx-h100", "gb200-nvl72", "trainium2", "h100-cpu")
DEVICES = {"trainium2": "aws.amazon.com/neuron"}  # others: nvidia.com/gpu
RAY = "2.59.0"  # as in deploy/docker
IMAGES = {True: "registry.example.com/berry:gpu", False: "registry.example.com/berry:cpu"}
MEMORY_SHARE = 0.9  # of a machine's, for its pod
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "fsGroup": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
STORE = [{"secretRef": {"name": "berry-store", "optional": True}}]


def pod(name: str, *, image: str, requests: dict[str, str], head: bool = False, shm_gib: int = 16) -> dict[str, Any]:
    """One Ray node. Sandboxes confine programs with landlock and seccomp, which need no privilege: the pod has none."""
    container: dict[str, Any] = {
        "name": name,
        "image": image,
        "resources": {"requests": requests, "limits": requests},
        "securityContext": SECURITY,
        "envFrom": STORE,
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    volumes: list[dict[str, Any]] = [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{shm_gib}Gi"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if head:
        container["ports"] = [
            {"name": "gcs", "containerPort": 6379},
            {"name": "dashboard", "containerPort": 8265},
            {"name": "metrics", "containerPort": 8080},
        ]
        container["env"] = [
            {
                "name": "BERRY_RUN",
                "valueFrom": {"configMapKeyRef": {"name": "berry-job", "key": "run", "optional": True}},
            }
        ]
        container["volumeMounts"].append({"name": "job", "mountPath": "/etc/berry", "readOnly": True})
        volumes.append({"name": "job", "configMap": {"name": "berry-job", "optional": True}})
    else:
        container["ports"] = [{"name": "metrics", "containerPort": 8080}]
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "securityContext": POD_SECURITY,
        "containers": [container],
        "volumes": volumes,
    }
    return {"metadata": {"labels": {"app.kubernetes.io/name": "berry"}}, "spec": spec}


def worker_group(cluster: str, name: str, node: dict[str, Any]) -> dict[str, Any]:
    """Whole machines: a pod has what the cluster file says that actors may take. Ray counts physical cores, as actors'
    `cpus` do; Kubernetes and the kernel's quotas behind it count hardware threads."""
    gpus = node.get("gpus", 0)
    usable = node["cores"] - node.get("reserved_cores", 0)
    cores = f"{usable:g}"
    requests = {
        "cpu": f"{usable * node.get('threads_per_core', 1):g}",
        "memory": f"{int(node['memory_gib'] * MEMORY_SHARE)}Gi",
    }
    params = {"num-cpus": cores, "metrics-export-port": "8080"}
    device = DEVICES.get(cluster, "nvidia.com/gpu")
    if gpus:
        requests[device] = str(gpus)
        params["num-gpus"] = str(gpus)
    template = pod("worker", image=IMAGES[bool(gpus)], requests=requests, shm_gib=64 if gpus else 16)
    if gpus:
        template["spec"]["tolerations"] = [{"key": device, "operator": "Exists", "effect": "NoSchedule"}]
    return {
        "groupName": name,
        "replicas": node["count"],
        "minReplicas": node["count"],
        "maxReplicas": node["count"],
        "labels": dict(node.get("labels", {})),
        "rayStartParams": params,
        "template": template,
    }


def cluster_spec(name: str) -> dict[str, Any]:
    raw = yaml.safe_load((CLUSTERS / f"{name}.yaml").read_text())
    head = pod("head", image=IMAGES[False], requests={"cpu": "8", "memory": "32Gi"}, head=True, shm_gib=4)
    return {
        "rayVersion": RAY,
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0", "metrics-export-port": "8080"},
            "template": head,
        },
        "workerGroupSpecs": [worker_group(name, kind, node) for kind, node in raw["nodes"].items()],
    }


def ray_cluster(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": f"berry-{name}"},
        "spec": cluster_spec(name),
    }


def ray_job(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": f"berry-{name}"},
        "spec": {
            "entrypoint": f'berry run /etc/berry/job.yaml cluster={name} --run "$BERRY_RUN"',
            "submissionMode": "HTTPMode",
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 600,
            "backoffLimit": 3,
            "rayClusterSpec": cluster_spec(name),
        },
    }


def files() -> dict[str, str]:
    """File names with their text."""
    made: dict[str, str] = {}
    for name in NAMES:
        head = f"# Made by make.py from configs/clusters/{name}.yaml. How to use it: README.md\n"
        for kind, content in (("job", ray_job(name)), ("cluster", ray_cluster(name))):
            made[f"{name}.{kind}.yaml"] = head + yaml.dump(content, sort_keys=False, Dumper=_Plain)
    return made


class _Plain(yaml.SafeDumper):
    """Without anchors: people read these files."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


if __name__ == "__main__":
    for name, text in files().items():
        (HERE / name).write_text(text, encoding="utf-8")
        print(f"wrote {name}", file=sys.stderr)
