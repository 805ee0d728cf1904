"""The pod of a ``Deployment``, the same in a Deployment and in a LeaderWorkerSet. Restricted pod security holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.deploy.deployment import BUNDLE, CACHE, PORTS, TMP, TMP_BYTES, USER, Deployment

MIB = 1 << 20
PRESTOP_S = 5
"""Triton refuses new requests from the stop signal on, and endpoints need this long to leave the pod out."""
PERIOD_S, TIMEOUT_S, FAILURES = 8, 7, 2
LIVENESS_FAILURES = 6
"""A pod that is only slow leaves the service long before it is restarted."""
NAME_LABEL = "app.kubernetes.io/name"


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a cluster has: ``claim`` is the volume claim with the bundle."""

    namespace: str | None = None
    claim: str | None = None
    replicas: int = 1
    monitoring: bool = True


PLAIN = Cluster()


def metadata(deployment: Deployment, cluster: Cluster, name: str | None = None) -> dict[str, Any]:
    """Name, namespace and labels of an object."""
    place = {"namespace": cluster.namespace} if cluster.namespace else {}
    return {"name": name or deployment.name, **place, "labels": labels(deployment)}


def labels(deployment: Deployment) -> dict[str, str]:
    version = {"app.kubernetes.io/version": deployment.release} if deployment.release else {}
    return {**selector(deployment), **version, "app.kubernetes.io/managed-by": "trtkit"}


def selector(deployment: Deployment) -> dict[str, str]:
    return {NAME_LABEL: deployment.name}


def template(deployment: Deployment, cluster: Cluster, container: Mapping[str, Any], role: str = "") -> dict[str, Any]:
    """A pod template with this one container; ``role`` labels the pods of a group."""
    role_label = {"app.kubernetes.io/component": role} if role else {}
    notes = {"trtkit.io/recipe": deployment.recipe, "trtkit.io/identity": deployment.identity}
    return {
        "metadata": {
            "labels": {**labels(deployment), **role_label},
            "annotations": {key: value for key, value in notes.items() if value},
        },
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": deployment.stop_s + PRESTOP_S,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **(_placement(deployment) if deployment.gpus else {}),
            "containers": [dict(container)],
            "volumes": volumes(deployment, cluster),
        },
    }


def container(deployment: Deployment, *, command: Sequence[str] = (), args: Sequence[str] = ()) -> dict[str, Any]:
    """The container without ports and probes; by default it runs the image's entry point on the bundle."""
    return {
        "name": "trtkit",
        "image": deployment.image,
        "imagePullPolicy": "IfNotPresent",
        **({"command": list(command)} if command else {}),
        "args": list(args) or deployment.command,
        "env": [{"name": name, "value": value} for name, value in deployment.env.items()],
        "resources": _resources(deployment),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "bundle", "mountPath": BUNDLE, "readOnly": True},
            {"name": "cache", "mountPath": CACHE},
            {"name": "tmp", "mountPath": TMP},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }


def serving(deployment: Deployment) -> dict[str, Any]:
    """What the container that serves has besides: ports, probes by inference, and the wait before its stop signal."""
    check = {"exec": {"command": [*deployment.health, "--timeout", str(TIMEOUT_S - 2)]}}
    probe = {**check, "periodSeconds": PERIOD_S, "timeoutSeconds": TIMEOUT_S}
    return {
        "ports": [{"name": name, "containerPort": port} for name, port in PORTS.items()],
        "startupProbe": {**probe, "failureThreshold": -(-deployment.load_s // PERIOD_S)},
        "readinessProbe": {**probe, "failureThreshold": FAILURES},
        "livenessProbe": {**probe, "failureThreshold": LIVENESS_FAILURES},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(PRESTOP_S)]}}},
    }


def volumes(deployment: Deployment, cluster: Cluster) -> list[dict[str, Any]]:
    claim = {"claimName": cluster.claim or f"{deployment.name}-bundle", "readOnly": True}
    return [
        {"name": "bundle", "persistentVolumeClaim": claim},
        {"name": "cache", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {"sizeLimit": _mi(TMP_BYTES)}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": _mi(deployment.shm)}},
    ]


def _placement(deployment: Deployment) -> dict[str, Any]:
    """Nodes with the GPU's compute capability, as NVIDIA's GPU feature discovery labels them."""
    assert deployment.sm is not None
    major, minor = divmod(deployment.sm, 10)
    return {
        "nodeSelector": {"nvidia.com/gpu.compute.major": str(major), "nvidia.com/gpu.compute.minor": str(minor)},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    }


def _resources(deployment: Deployment) -> dict[str, Any]:
    memory = {"memory": _mi(deployment.memory)} if deployment.memory else {}
    gpus = {"nvidia.com/gpu": str(deployment.gpus)} if deployment.gpus else {}
    limits = {**memory, **gpus}
    return {"requests": {"cpu": str(deployment.cpus), **limits}, "limits": limits}


def _mi(nbytes: int) -> str:
    return f"{nbytes // MIB}Mi"
