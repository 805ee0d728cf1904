"""A ``Deployment`` as a service of Docker Compose (compose-spec)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.deploy.deployment import BUNDLE, CACHE, PORTS, TMP, TMP_BYTES, USER, Deployment
from toolkit.errors import DeployError

CHECK_S = {"interval": 8, "timeout": 7}
RETRIES = 2
"""A dead model is unhealthy after 2 × (8 + 7) s at most."""
ULIMITS = {"memlock": -1, "stack": 64 << 20, "nofile": 1 << 16}
MIB = 1 << 20


def compose(deployment: Deployment, context: Path | None = None) -> dict[str, Any]:
    """A compose file with one service. ``context``: the checkout that the image can be built from.

    Raises ``DeployError`` for a deployment of several nodes, which compose cannot place.
    """
    if deployment.nodes > 1:
        what = f"the parallel layout takes {deployment.nodes} nodes, and compose places containers on one"
        raise DeployError(what, hint="Type: trtkit deploy k8s RECIPE")
    return whole(deployment.name, {deployment.name: service(deployment, context)})


def whole(project: str, services: Mapping[str, Any]) -> dict[str, Any]:
    """A compose file; each service has a cache volume of its own."""
    return {"name": project, "services": dict(services), "volumes": {f"{name}-cache": {} for name in services}}


def service(deployment: Deployment, context: Path | None = None) -> dict[str, Any]:
    """The service: non-root, read-only but for the cache volume and a temporary folder, on loopback only."""
    ports = [f"127.0.0.1:{deployment.ports[name]}:{PORTS[name]}" for name in PORTS]
    return {
        "image": deployment.image,
        **({"build": _build(deployment, context)} if context else {}),
        "command": deployment.command,
        "init": True,
        "user": f"{USER}:{USER}",
        "read_only": True,
        # Triton's model process is started from there, so it may not be noexec
        "tmpfs": [f"{TMP}:rw,exec,nosuid,nodev,mode=1777,size={TMP_BYTES // MIB}m"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "shm_size": f"{deployment.shm // MIB}m",
        **({"mem_limit": f"{deployment.memory // MIB}m"} if deployment.memory else {}),
        "ulimits": ULIMITS,
        "environment": dict(deployment.env),
        "ports": ports,
        "volumes": [
            {
                "type": "bind",
                "source": deployment.bundle.replace("$", "$$"),
                "target": BUNDLE,
                "read_only": True,
                "bind": {"create_host_path": False},
            },
            {"type": "volume", "source": f"{deployment.name}-cache", "target": CACHE},
        ],
        "healthcheck": _healthcheck(deployment),
        "stop_signal": "SIGTERM",
        "stop_grace_period": f"{deployment.stop_s}s",
        "restart": "unless-stopped",
        "logging": {"driver": "json-file", "options": {"max-size": "50m", "max-file": "5"}},
        "labels": labels(deployment),
        **({"deploy": _devices(deployment)} if deployment.gpus else {}),
    }


def labels(deployment: Deployment) -> dict[str, str]:
    """What runs there, for people and for a roll back."""
    found = {"recipe": deployment.recipe, "identity": deployment.identity, "release": deployment.release}
    return {f"io.trtkit.{key}": value for key, value in found.items() if value}


def _build(deployment: Deployment, context: Path) -> dict[str, Any]:
    argument = "PYTHON_IMAGE" if deployment.runtime == "cpu" else "TRITON_IMAGE"
    kind = "cpu" if deployment.runtime == "cpu" else "gpu"
    args = {argument: deployment.base.reference}
    return {"context": str(context), "dockerfile": f"docker/{kind}.Dockerfile", "args": args}


def _healthcheck(deployment: Deployment) -> dict[str, Any]:
    return {
        "test": ["CMD", *deployment.health, "--timeout", str(CHECK_S["timeout"] - 2)],
        **{key: f"{seconds}s" for key, seconds in CHECK_S.items()},
        "retries": RETRIES,
        "start_period": f"{deployment.load_s}s",
    }


def _devices(deployment: Deployment) -> dict[str, Any]:
    gpus = {"driver": "nvidia", "device_ids": list(deployment.devices), "capabilities": ["gpu"]}
    return {"resources": {"reservations": {"devices": [gpus]}}}
