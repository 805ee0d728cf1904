"""Who watches a ``Deployment``: a PodMonitor, Prometheus rules and a Grafana dashboard over the model's own metrics."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml

from toolkit.deploy.deployment import Deployment
from toolkit.deploy.pod import Cluster, metadata, selector

RULES, DASHBOARD = "rules.yaml", "dashboard.json"


def text(name: str) -> str:
    """``RULES`` or ``DASHBOARD`` as the package holds it."""
    return (files("toolkit.deploy") / "data" / name).read_text("utf-8")


def objects(deployment: Deployment, cluster: Cluster) -> list[dict[str, Any]]:
    """PodMonitor and PrometheusRule of the Prometheus operator, and the dashboard as Grafana's sidecar finds it."""
    return [
        _object("PodMonitor", metadata(deployment, cluster), _pods(deployment)),
        _object("PrometheusRule", metadata(deployment, cluster), yaml.safe_load(text(RULES))),
        _dashboard(deployment, cluster),
    ]


def _object(kind: str, head: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "monitoring.coreos.com/v1", "kind": kind, "metadata": head, "spec": spec}


def _pods(deployment: Deployment) -> dict[str, Any]:
    """Only pods that serve have a port of this name."""
    return {
        "selector": {"matchLabels": selector(deployment)},
        "podMetricsEndpoints": [{"port": "metrics", "path": "/metrics", "interval": "15s"}],
    }


def _dashboard(deployment: Deployment, cluster: Cluster) -> dict[str, Any]:
    head = metadata(deployment, cluster, f"{deployment.name}-dashboard")
    head["labels"] = {**head["labels"], "grafana_dashboard": "1"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": head, "data": {"trtkit.json": text(DASHBOARD)}}
