"""Every shipped recipe's manifests, checked against their schemas and against the rules of the room."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deploy.made_up import GIB, made
from tests.deploy.schemas import check_compose, check_kubernetes, pod_templates
from toolkit.deploy.compose import compose
from toolkit.deploy.deployment import Deployment
from toolkit.deploy.kubernetes import manifests, notes
from toolkit.deploy.pod import Cluster
from toolkit.deploy.text import to_yaml
from toolkit.errors import DeployError
from toolkit.recipe import load
from toolkit.resources import recipes_dir

SHIPPED = sorted(f"{path.parent.name}/{path.stem}" for path in recipes_dir().glob("*/*.yaml"))
CLUSTER = Cluster(namespace="llm")
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def deployed(name: str) -> Deployment:
    """The sizes do not come from a bundle; no Triton image has the release of the DGX Spark recipes."""
    target = load(recipes_dir() / f"{name}.yaml").target
    base = {"base": "own/triton:1"} if target.release == "1.3.0rc20" else {}
    return made(name, nbytes=3 << 20 if target.runtime == "cpu" else 65 * GIB, **base)


def refused(name: str) -> bool:
    return load(recipes_dir() / f"{name}.yaml").target.backend == "tensorrt"


def containers(objects: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for thing in objects:
        for template in pod_templates(thing):
            for container in template["spec"]["containers"]:
                yield template["spec"], container


DEPLOYED = [name for name in SHIPPED if not refused(name)]


def test_every_recipe_but_the_compiled_one_is_deployed() -> None:
    assert set(SHIPPED) - set(DEPLOYED) == {"llama-3.1-8b/b200-compiled"}


@pytest.mark.parametrize("name", DEPLOYED)
def test_compose(name: str) -> None:
    found = deployed(name)
    document = yaml.load(to_yaml([compose(found, Path("/checkout"))], found.notes), Loader)
    check_compose(document)
    [service] = document["services"].values()
    assert service["user"] == "10001:10001"
    assert service["read_only"] is service["init"] is True
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert int(service["stop_grace_period"][:-1]) > found.grace_s
    bound, cache = service["volumes"]
    assert (bound["source"], bound["target"], bound["read_only"]) == ("/srv/bundle", "/bundle", True)
    assert document["volumes"] == {cache["source"]: {}}
    devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    assert [device["device_ids"] for device in devices] == ([list(found.devices)] if found.gpus else [])


def test_a_dead_model_is_unhealthy_within_30_seconds() -> None:
    [service] = compose(deployed("gpt-oss-120b/b200"))["services"].values()
    check = service["healthcheck"]
    interval, timeout = (int(check[key].removesuffix("s")) for key in ("interval", "timeout"))
    assert check["retries"] * (interval + timeout) <= 30
    assert check["test"] == ["CMD", "trtkit", "deploy", "health", "--model", "tensorrt_llm", "--timeout", "5"]
    [(_, container)] = containers(manifests(deployed("gpt-oss-120b/b200")))
    probe = container["readinessProbe"]
    assert probe["failureThreshold"] * (probe["periodSeconds"] + probe["timeoutSeconds"]) <= 30


@pytest.mark.parametrize(
    ("name", "nodes"), [*((name, 1) for name in DEPLOYED), *((name, 2) for name in DEPLOYED if deployed(name).gpus > 1)]
)
def test_kubernetes(name: str, nodes: int) -> None:
    found = deployed(name) if nodes == 1 else made(name, gpus_per_node=deployed(name).gpus // nodes)
    objects = list(yaml.load_all(to_yaml(manifests(found, CLUSTER), notes(found)), Loader))
    for thing in objects:
        check_kubernetes(thing)
        assert thing["metadata"]["namespace"] == "llm"
    kinds = ["Deployment" if nodes == 1 else "LeaderWorkerSet", "Service", "PodDisruptionBudget"]
    assert [thing["kind"] for thing in objects] == [*kinds, "PodMonitor", "PrometheusRule", "ConfigMap"]
    assert len(list(containers(objects))) == nodes
    for pod, container in containers(objects):
        _is_restricted(pod, container)
        assert pod["terminationGracePeriodSeconds"] > found.grace_s
        assert container["resources"]["limits"].get("nvidia.com/gpu") == (str(found.gpus) if found.gpus else None)
        mounted = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
        assert mounted.items() >= {"/bundle": True, "/cache": False, "/tmp": False, "/dev/shm": False}.items()


def _is_restricted(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """Kubernetes' pod security standard "restricted"."""
    context = pod["securityContext"]
    assert (context["runAsNonRoot"], context["runAsUser"]) == (True, 10001)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "hostPath" not in str(pod["volumes"])


def test_only_the_leader_of_several_nodes_serves() -> None:
    found = made("gpt-oss-120b/b200-latency", gpus_per_node=2)
    group, service, budget, *_ = manifests(found)
    template = group["spec"]["leaderWorkerTemplate"]
    assert template["size"] == 2
    served = {"app.kubernetes.io/name": found.name, "app.kubernetes.io/component": "leader"}
    assert service["spec"]["selector"] == budget["spec"]["selector"]["matchLabels"] == served
    assert template["leaderTemplate"]["metadata"]["labels"].items() >= served.items()
    assert not template["workerTemplate"]["metadata"]["labels"].items() >= served.items()
    [(_, leader), (_, worker)] = containers([group])
    assert "readinessProbe" in leader
    assert "livenessProbe" not in worker
    [script] = leader["args"]
    assert 'hosts="$LWS_LEADER_ADDRESS:2"' in script
    assert "-np 4" in script
    assert script.rstrip().endswith("trtllm-llmapi-launch trtkit " + " ".join(found.command))


def test_compose_cannot_place_several_nodes() -> None:
    with pytest.raises(DeployError) as caught:
        compose(made("gpt-oss-120b/b200-latency", gpus_per_node=2))
    what = "the parallel layout takes 2 nodes, and compose places containers on one"
    assert str(caught.value) == f"{what}. Type: trtkit deploy k8s RECIPE"


def test_a_dollar_in_a_path_is_no_variable() -> None:
    found = made()
    changed = Deployment(**{**{name: getattr(found, name) for name in found.__slots__}, "bundle": "/srv/$x"})
    assert compose(changed)["services"][found.name]["volumes"][0]["source"] == "/srv/$$x"


def test_the_checks_find_what_is_wrong() -> None:
    document = compose(made())
    document["services"]["gpt-oss-120b-b200"]["shm_sise"] = "1g"
    with pytest.raises(jsonschema.ValidationError, match="shm_sise"):
        check_compose(document)
    group, *_ = manifests(made("gpt-oss-120b/b200-latency", gpus_per_node=2))
    deployment, service, *_, rule, _ = manifests(made())
    for thing, path in (
        (deployment, ("spec", "template", "spec", "containers", 0, "readynessProbe")),
        (service, ("spec", "selectors")),
        (group, ("spec", "leaderWorkerTemplate", "sise")),
        (group, ("spec", "leaderWorkerTemplate", "workerTemplate", "spec", "containers", 0, "imagePull")),
        (rule, ("spec", "groups", 0, "rules", 0, "exprs")),
        (rule, ("metadata", "label")),
    ):
        broken = copy.deepcopy(thing)
        place: Any = broken
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = {}
        with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
            check_kubernetes(broken)
