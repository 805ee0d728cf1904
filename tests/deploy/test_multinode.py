"""The scripts of a group's pods, run by a real shell with stand-ins for ssh, sshd and mpirun."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.deploy.made_up import made
from toolkit.deploy.deployment import CACHE_ENV
from toolkit.deploy.multinode import SSH_MOUNT, worker_set
from toolkit.deploy.pod import PLAIN

FOUND = made("gpt-oss-120b/b200-latency", gpus_per_node=2)
SAY = 'for word in "$@"; do printf "%s\\n" "$word"; done'


@pytest.fixture
def pod(tmp_path: Path) -> Path:
    """A folder with a key pair, a home and the stand-ins."""
    for name, script in {
        "ssh": f'echo ssh "$@" >> {tmp_path}/asked',
        "ssh-keygen": ":",
        "mpirun": SAY,
        "sshd": SAY,
    }.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    (tmp_path / "id").write_text("private")
    (tmp_path / "id.pub").write_text("public")
    return tmp_path


def run(template: str, pod: Path, **environment: str) -> list[str]:
    """The words that the script's last command was given."""
    group = worker_set(FOUND, PLAIN)["spec"]["leaderWorkerTemplate"]
    [container] = group[template]["spec"]["containers"]
    [script] = container["args"]
    assert container["command"] == ["sh", "-c"]
    script = script.replace(f"{SSH_MOUNT}/", f"{pod}/").replace("/usr/sbin/sshd", f"{pod}/sshd")
    path = f"{pod}:{os.environ['PATH']}"
    variables = {"PATH": path, "HOME": f"{pod}/home", **environment}
    done = subprocess.run(["sh", "-c", script], env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("libraries", ["", "/opt/lib"])
def test_the_leader_waits_for_each_worker_and_starts_every_rank(pod: Path, libraries: str) -> None:
    extra = {"LD_LIBRARY_PATH": libraries} if libraries else {}
    said = run("leaderTemplate", pod, LWS_LEADER_ADDRESS="g-0.g.llm", LWS_GROUP_SIZE="3", **extra)
    ssh = f"-p 2222 -i {pod}/home/.ssh/id -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    forwarded = [word for name in ("PATH", *CACHE_ENV) for word in ("-x", name)]
    assert said == [
        *("-np", "4", "-H", "g-0.g.llm:2,g-0-1.g.llm:2,g-0-2.g.llm:2", "--mca", "plm_rsh_args", ssh),
        *(("-x", "LD_LIBRARY_PATH") if libraries else ()),
        *forwarded,
        *("trtllm-llmapi-launch", "trtkit", *FOUND.command),
    ]
    assert (pod / "asked").read_text().splitlines() == [f"ssh {ssh} g-0-{worker}.g.llm true" for worker in (1, 2)]
    assert (pod / "home" / ".ssh" / "id").stat().st_mode & 0o777 == 0o600


def test_a_worker_lets_the_leader_in_and_nobody_else(pod: Path) -> None:
    said = run("workerTemplate", pod)
    home = f"{pod}/home/.ssh"
    assert said == [
        *("-D", "-e", "-f", "/dev/null", "-p", "2222", "-h", f"{home}/host", "-o", "PidFile=none"),
        *("-o", "StrictModes=no", "-o", "PasswordAuthentication=no"),
        *("-o", f"AuthorizedKeysFile={home}/authorized_keys"),
    ]
    assert Path(home, "authorized_keys").read_text() == "public"
