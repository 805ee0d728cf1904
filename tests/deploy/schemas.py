"""Checks of rendered manifests against their schemas, offline.

Compose: the compose-spec schema that check-jsonschema carries. Kubernetes: the OpenAPI schemas that kubernetes-validate
carries, strict, so that an unknown field is an error. The schemas of the custom resources below are written after the
types of kubernetes-sigs/lws (api/leaderworkerset/v1) and prometheus-operator (pkg/apis/monitoring/v1), with the fields
that are rendered; their pod templates are checked as pods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jsonschema
import kubernetes_validate
from check_jsonschema.builtin_schemas import get_builtin_schema

KUBERNETES = "1.37"
Schema = dict[str, Any]


def closed(required: Iterable[str] = (), **properties: Schema) -> Schema:
    """An object with these properties and no others."""
    found = {name.rstrip("_"): schema for name, schema in properties.items()}
    return {"type": "object", "properties": found, "required": list(required), "additionalProperties": False}


def items(schema: Schema) -> Schema:
    return {"type": "array", "items": schema, "minItems": 1}


def one_of(*words: str) -> Schema:
    return {"enum": list(words)}


TEXT: Schema = {"type": "string", "minLength": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
DURATION: Schema = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$"}
SELECTOR = closed(["matchLabels"], matchLabels={**TEXTS, "minProperties": 1})
POD = closed(["metadata", "spec"], metadata={"type": "object"}, spec={"type": "object"})
RULE = {
    "oneOf": [
        closed(["record", "expr"], record={"type": "string", "pattern": "^[a-zA-Z_:][a-zA-Z0-9_:]*$"}, expr=TEXT),
        closed(["alert", "expr"], alert=TEXT, expr=TEXT, for_=DURATION, labels=TEXTS, annotations=TEXTS),
    ]
}
SPECS: Mapping[str, Schema] = {
    "leaderworkerset.x-k8s.io/v1/LeaderWorkerSet": closed(
        ["leaderWorkerTemplate"],
        replicas=COUNT,
        startupPolicy=one_of("LeaderCreated", "LeaderReady"),
        rolloutStrategy=closed(
            ["type"],
            type=one_of("RollingUpdate"),
            rollingUpdateConfiguration=closed(partition=COUNT, maxUnavailable=COUNT, maxSurge=COUNT),
        ),
        leaderWorkerTemplate=closed(
            ["workerTemplate"],
            size={"type": "integer", "minimum": 1},
            restartPolicy=one_of("Default", "RecreateGroupOnPodRestart", "RecreateGroupAfterStart", "None"),
            leaderTemplate=POD,
            workerTemplate=POD,
        ),
    ),
    "monitoring.coreos.com/v1/PodMonitor": closed(
        ["selector", "podMetricsEndpoints"],
        selector=SELECTOR,
        podMetricsEndpoints=items(closed(["port"], port=TEXT, path=TEXT, interval=DURATION)),
    ),
    "monitoring.coreos.com/v1/PrometheusRule": closed(
        ["groups"], groups=items(closed(["name", "rules"], name=TEXT, rules=items(RULE)))
    ),
}


def check_compose(document: Mapping[str, Any]) -> None:
    jsonschema.validate(document, get_builtin_schema("vendor.compose-spec"))


def check_kubernetes(thing: dict[str, Any]) -> None:
    """One object, whole."""
    spec = SPECS.get(f"{thing['apiVersion']}/{thing['kind']}")
    if spec is None:
        kubernetes_validate.validate(thing, KUBERNETES, strict=True)
        return
    assert thing.keys() == {"apiVersion", "kind", "metadata", "spec"}
    # metadata is that of any object
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": thing["metadata"]}, KUBERNETES, strict=True
    )
    jsonschema.validate(thing["spec"], spec)
    for template in pod_templates(thing):
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def pod_templates(thing: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pods that an object makes."""
    group = thing["spec"].get("leaderWorkerTemplate", {}) if "spec" in thing else {}
    found = [template for key, template in group.items() if key.endswith("Template")]
    return found + ([thing["spec"]["template"]] if thing.get("kind") == "Deployment" else [])
