"""A LeaderWorkerSet: one group of pods, a node each, under one MPI world.

The leader starts all ranks with mpirun over SSH: rank 0 is Triton, the others wait inside trtllm-llmapi-launch. NVIDIA
Dynamo's operator starts TensorRT-LLM so, too (deploy/operator/internal/dynamo/backend_trtllm.go in ai-dynamo/dynamo).
That Triton's model process works as rank 0 was not run on a cluster.
"""

from __future__ import annotations

import shlex
from typing import Any

from toolkit.deploy.deployment import Deployment
from toolkit.deploy.pod import Cluster, container, metadata, serving, template

SSH_PORT = 2222
SSH_MOUNT = "/ssh"
LEADER, WORKER = "leader", "worker"
NOTE = "several nodes under one MPI world: rendered from what NVIDIA's operator does, not run on a cluster"

# sshd as the user of the pod: it can log that user in, and nobody else
_SSHD = f"""\
set -eu
mkdir -p "$HOME/.ssh"
install -m 600 {SSH_MOUNT}/id "$HOME/.ssh/id"
cp {SSH_MOUNT}/id.pub "$HOME/.ssh/authorized_keys"
ssh-keygen -q -t ed25519 -N '' -f "$HOME/.ssh/host"
exec /usr/sbin/sshd -D -e -f /dev/null -p {SSH_PORT} -h "$HOME/.ssh/host" \\
  -o PidFile=none -o StrictModes=no -o PasswordAuthentication=no -o AuthorizedKeysFile="$HOME/.ssh/authorized_keys"
"""

_LEADER = """\
set -eu
mkdir -p "$HOME/.ssh"
install -m 600 {mount}/id "$HOME/.ssh/id"
ssh="-p {port} -i $HOME/.ssh/id -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
hosts="$LWS_LEADER_ADDRESS:{gpus}" worker=1
while [ "$worker" -lt "$LWS_GROUP_SIZE" ]; do
  host="${{LWS_LEADER_ADDRESS%%.*}}-$worker.${{LWS_LEADER_ADDRESS#*.}}"
  until ssh $ssh "$host" true; do sleep 2; done
  hosts="$hosts,$host:{gpus}" worker=$((worker + 1))
done
# by its full path mpirun finds its own daemon on the other nodes
exec "$(command -v mpirun)" -np {world} -H "$hosts" --mca plm_rsh_args "$ssh" \\
  ${{LD_LIBRARY_PATH:+-x LD_LIBRARY_PATH}} {forward} \\
  trtllm-llmapi-launch trtkit {command}
"""


def worker_set(deployment: Deployment, cluster: Cluster) -> dict[str, Any]:
    """The LeaderWorkerSet (leaderworkerset.x-k8s.io/v1): only the leader serves, and a lost pod restarts its group."""
    forward = " ".join(f"-x {name}" for name in ("PATH", *deployment.env))
    script = _LEADER.format(
        mount=SSH_MOUNT,
        port=SSH_PORT,
        gpus=deployment.gpus,
        world=deployment.nodes * deployment.gpus,
        forward=forward,
        command=shlex.join(deployment.command),
    )
    leader = {**container(deployment, command=["sh", "-c"], args=[script]), **serving(deployment)}
    worker = {
        **container(deployment, command=["sh", "-c"], args=[_SSHD]),
        "ports": [{"name": "ssh", "containerPort": SSH_PORT}],
        "readinessProbe": {"tcpSocket": {"port": "ssh"}, "periodSeconds": 5},
    }
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": metadata(deployment, cluster),
        "spec": {
            "replicas": cluster.replicas,
            "startupPolicy": "LeaderCreated",
            "rolloutStrategy": {
                "type": "RollingUpdate",
                "rollingUpdateConfiguration": {"maxUnavailable": 1, "maxSurge": 0},
            },
            "leaderWorkerTemplate": {
                "size": deployment.nodes,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": _with_keys(deployment, template(deployment, cluster, leader, LEADER)),
                "workerTemplate": _with_keys(deployment, template(deployment, cluster, worker, WORKER)),
            },
        },
    }


def _with_keys(deployment: Deployment, pod: dict[str, Any]) -> dict[str, Any]:
    """``pod`` with the SSH key pair of the secret ``<name>-ssh`` mounted."""
    secret = {"secretName": f"{deployment.name}-ssh", "defaultMode": 0o440}
    spec = pod["spec"]
    spec["volumes"] = [*spec["volumes"], {"name": "ssh", "secret": secret}]
    [only] = spec["containers"]
    only["volumeMounts"] = [*only["volumeMounts"], {"name": "ssh", "mountPath": SSH_MOUNT, "readOnly": True}]
    return pod
