"""A ``Deployment`` as Kubernetes objects."""

from __future__ import annotations

from typing import Any

from toolkit.deploy import monitoring, multinode
from toolkit.deploy.deployment import PORTS, Deployment
from toolkit.deploy.pod import PLAIN, Cluster, container, metadata, selector, serving, template


def manifests(deployment: Deployment, cluster: Cluster = PLAIN) -> list[dict[str, Any]]:
    """What runs the pods, the Service before them, their PodDisruptionBudget, and with ``monitoring`` who watches."""
    several = deployment.nodes > 1
    runs = multinode.worker_set(deployment, cluster) if several else _deployment(deployment, cluster)
    objects = [runs, _service(deployment, cluster), _budget(deployment, cluster)]
    return objects + (monitoring.objects(deployment, cluster) if cluster.monitoring else [])


def notes(deployment: Deployment) -> list[str]:
    """What is not sure or has to be made first."""
    made = [f"The bundle's volume claim and, in the namespace, the image {deployment.image} are not made here"]
    return [*deployment.notes, *([multinode.NOTE] if deployment.nodes > 1 else []), *made]


def served_by(deployment: Deployment) -> dict[str, str]:
    """Labels of the pods that serve."""
    role = {"app.kubernetes.io/component": multinode.LEADER} if deployment.nodes > 1 else {}
    return {**selector(deployment), **role}


def _deployment(deployment: Deployment, cluster: Cluster) -> dict[str, Any]:
    pod = template(deployment, cluster, {**container(deployment), **serving(deployment)})
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(deployment, cluster),
        "spec": {
            "replicas": cluster.replicas,
            "revisionHistoryLimit": 5,
            # a new pod loads for minutes before it is ready
            "progressDeadlineSeconds": 2 * deployment.load_s,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": selector(deployment)},
            "template": pod,
        },
    }


def _service(deployment: Deployment, cluster: Cluster) -> dict[str, Any]:
    ports = [{"name": name, "port": port, "targetPort": name} for name, port in PORTS.items() if name != "metrics"]
    name = f"{deployment.name}-serve"  # a LeaderWorkerSet has a headless service of its own name
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(deployment, cluster, name),
        "spec": {"type": "ClusterIP", "selector": served_by(deployment), "ports": ports},
    }


def _budget(deployment: Deployment, cluster: Cluster) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(deployment, cluster),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": served_by(deployment)}},
    }
