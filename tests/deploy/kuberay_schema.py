"""The fields of KubeRay's RayJob and RayCluster (ray.io/v1) that manifests here may use, as a JSON schema.

Names, types, choices and bounds as the operator's API reference gives them (1.5); pod templates as far as they are used
here. Unknown fields are refused, as the API server's strict validation does.
"""

from __future__ import annotations

from typing import Any

STRING: dict[str, Any] = {"type": "string"}
BOOLEAN: dict[str, Any] = {"type": "boolean"}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
TEXTS: dict[str, Any] = {"type": "object", "additionalProperties": STRING}
NAME: dict[str, Any] = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
QUANTITY: dict[str, Any] = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti)?$"}
KEY_REF: dict[str, Any] = {"name": NAME, "key": STRING, "optional": BOOLEAN}


def fields(properties: dict[str, Any], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def listed(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


CONTAINER = fields(
    {
        "name": NAME,
        "image": STRING,
        "resources": fields(
            {
                "requests": {"type": "object", "additionalProperties": QUANTITY},
                "limits": {"type": "object", "additionalProperties": QUANTITY},
            }
        ),
        "securityContext": fields(
            {
                "allowPrivilegeEscalation": BOOLEAN,
                "privileged": BOOLEAN,
                "readOnlyRootFilesystem": BOOLEAN,
                "capabilities": fields({"add": listed(STRING), "drop": listed(STRING)}),
            }
        ),
        "env": listed(
            fields(
                {"name": STRING, "value": STRING, "valueFrom": fields({"configMapKeyRef": fields(KEY_REF)})},
                required=("name",),
            )
        ),
        "envFrom": listed(fields({"secretRef": fields({"name": NAME, "optional": BOOLEAN})})),
        "ports": listed(
            fields(
                {"name": NAME, "containerPort": {"type": "integer", "minimum": 1, "maximum": 65535}},
                required=("containerPort",),
            )
        ),
        "volumeMounts": listed(
            fields({"name": NAME, "mountPath": STRING, "readOnly": BOOLEAN}, required=("name", "mountPath"))
        ),
    },
    required=("name", "image"),
)
POD_TEMPLATE = fields(
    {
        "metadata": fields({"labels": TEXTS, "annotations": TEXTS}),
        "spec": fields(
            {
                "automountServiceAccountToken": BOOLEAN,
                "securityContext": fields(
                    {
                        "runAsNonRoot": BOOLEAN,
                        "runAsUser": COUNT,
                        "runAsGroup": COUNT,
                        "fsGroup": COUNT,
                        "seccompProfile": fields(
                            {"type": {"enum": ["RuntimeDefault", "Unconfined", "Localhost"]}}, required=("type",)
                        ),
                    }
                ),
                "containers": {**listed(CONTAINER), "minItems": 1},
                "tolerations": listed(
                    fields(
                        {
                            "key": STRING,
                            "operator": {"enum": ["Exists", "Equal"]},
                            "value": STRING,
                            "effect": {"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
                        }
                    )
                ),
                "nodeSelector": TEXTS,
                "volumes": listed(
                    fields(
                        {
                            "name": NAME,
                            "emptyDir": fields({"medium": {"enum": ["", "Memory"]}, "sizeLimit": QUANTITY}),
                            "configMap": fields({"name": NAME, "optional": BOOLEAN}),
                        },
                        required=("name",),
                    )
                ),
            },
            required=("containers",),
        ),
    },
    required=("spec",),
)
WORKER_GROUP = fields(
    {
        "groupName": NAME,
        "replicas": COUNT,
        "minReplicas": COUNT,
        "maxReplicas": COUNT,
        "numOfHosts": COUNT,
        "idleTimeoutSeconds": COUNT,
        "suspend": BOOLEAN,
        "labels": TEXTS,
        "resources": TEXTS,
        "rayStartParams": TEXTS,
        "scaleStrategy": fields({"workersToDelete": listed(STRING)}),
        "template": POD_TEMPLATE,
    },
    required=("groupName", "minReplicas", "maxReplicas", "template"),
)
CLUSTER_SPEC = fields(
    {
        "rayVersion": STRING,
        "suspend": BOOLEAN,
        "enableInTreeAutoscaling": BOOLEAN,
        "autoscalerOptions": fields(
            {
                "version": {"enum": ["v1", "v2"]},
                "idleTimeoutSeconds": COUNT,
                "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
            }
        ),
        "headServiceAnnotations": TEXTS,
        "headGroupSpec": fields(
            {
                "template": POD_TEMPLATE,
                "rayStartParams": TEXTS,
                "serviceType": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
                "enableIngress": BOOLEAN,
                "labels": TEXTS,
                "resources": TEXTS,
            },
            required=("template",),
        ),
        "workerGroupSpecs": listed(WORKER_GROUP),
    },
    required=("headGroupSpec",),
)
JOB_SPEC = fields(
    {
        "entrypoint": STRING,
        "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        "shutdownAfterJobFinishes": BOOLEAN,
        "ttlSecondsAfterFinished": COUNT,
        "activeDeadlineSeconds": {"type": "integer", "minimum": 1},
        "backoffLimit": COUNT,
        "runtimeEnvYAML": STRING,
        "jobId": STRING,
        "metadata": TEXTS,
        "clusterSelector": TEXTS,
        "suspend": BOOLEAN,
        "entrypointNumCpus": {"type": "number"},
        "entrypointNumGpus": {"type": "number"},
        "rayClusterSpec": CLUSTER_SPEC,
    }
)


def manifest(kind: str) -> dict[str, Any]:
    """Of a whole file of this kind."""
    return fields(
        {
            "apiVersion": {"const": "ray.io/v1"},
            "kind": {"const": kind},
            "metadata": fields({"name": NAME, "namespace": NAME, "labels": TEXTS}, required=("name",)),
            "spec": {"RayJob": JOB_SPEC, "RayCluster": CLUSTER_SPEC}[kind],
        },
        required=("apiVersion", "kind", "metadata", "spec"),
    )
