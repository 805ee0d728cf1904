from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from tests.deploy.schemas import check_compose, check_kubernetes
from toolkit.deploy import monitoring

Run = Callable[..., Result]
TRTKIT = (sys.executable, "-c", "from toolkit.cli import main; main(prog_name='trtkit')")
B200 = ("deploy", "k8s", "gpt-oss-120b/b200", "--unbuilt")
UNPINNED = "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3 is not pinned"
SERVED = re.compile(r"ready: grpc (\S+), http (\S+), metrics (\S+)")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    folder = tmp_path_factory.mktemp("deploy") / "bundle"
    command = [*TRTKIT, "engine", "tiny-gpt-oss/cpu", "--set", f"engine.output={folder}"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(root)}, check=True, capture_output=True)
    return folder


def test_compose_goes_to_stdout_and_notes_to_stderr(trtkit: Run, bundle: Path, root: Path) -> None:
    result = trtkit("deploy", "compose", "tiny-gpt-oss/cpu", "--set", f"engine.output={bundle}", "--image", "own:1")
    assert result.exit_code == 0, result.output
    document = yaml.safe_load(result.stdout)
    check_compose(document)
    service = document["services"]["tiny-gpt-oss-cpu"]
    assert (service["image"], service["volumes"][0]["source"]) == ("own:1", str(bundle))
    assert service["build"]["context"] == str(root)
    assert result.stderr.startswith("note: docker.io/library/python:3.12-slim-bookworm is not pinned")


def test_json_is_the_same_document(trtkit: Run, bundle: Path) -> None:
    argv = ("deploy", "compose", "tiny-gpt-oss/cpu", "--set", f"engine.output={bundle}")
    assert json.loads(trtkit(*argv, "--json").stdout) == yaml.safe_load(trtkit(*argv).stdout)


def test_devices_of_the_host(trtkit: Run) -> None:
    result = trtkit("deploy", "compose", "gpt-oss-120b/b200-latency", "--unbuilt", "--devices", "4,5,6,7", "--json")
    service = json.loads(result.stdout)["services"]["gpt-oss-120b-b200-latency"]
    [device] = service["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "device_ids": ["4", "5", "6", "7"], "capabilities": ["gpu"]}


def test_kubernetes_as_a_stream(trtkit: Run) -> None:
    argv = (
        "--namespace",
        "llm",
        "--claim",
        "weights",
        "--replicas",
        "3",
        "--set",
        "serve.grace_s=90",
        "--no-monitoring",
    )
    result = trtkit(*B200, *argv)
    assert result.exit_code == 0, result.output
    deployment, service, budget = yaml.safe_load_all(result.stdout)
    for thing in (deployment, service, budget):
        check_kubernetes(thing)
    assert (deployment["kind"], deployment["metadata"]["namespace"]) == ("Deployment", "llm")
    assert deployment["spec"]["replicas"] == 3
    pod = deployment["spec"]["template"]["spec"]
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "weights", "readOnly": True}
    # 90 s of drain, 30 s to clean up, 5 s for the endpoints
    assert pod["terminationGracePeriodSeconds"] == 125
    assert result.stderr.startswith(f"note: {UNPINNED}")


def test_files_in_a_folder(trtkit: Run, bundle: Path, tmp_path: Path) -> None:
    result = trtkit(*B200, "--out", tmp_path / "k8s")
    names = ("deployment", "service", "poddisruptionbudget", "podmonitor", "prometheusrule", "configmap")
    assert result.stdout.splitlines() == [f"{tmp_path}/k8s/{name}.yaml" for name in names]
    for name in names:
        check_kubernetes(yaml.safe_load((tmp_path / "k8s" / f"{name}.yaml").read_text()))
    argv = ("deploy", "compose", "tiny-gpt-oss/cpu", "--set", f"engine.output={bundle}", "--out", tmp_path / "one")
    written = json.loads(trtkit(*argv, "--json").stdout)["files"]
    assert written == [f"{tmp_path}/one/{name}" for name in ("compose.yaml", "rules.yaml", "dashboard.json")]
    check_compose(yaml.safe_load(Path(written[0]).read_text()))
    assert Path(written[2]).read_text() == monitoring.text(monitoring.DASHBOARD)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (
            ("--tag", "26.7"),
            "error: image tag '26.7' is not in the lock. Did you mean 26.07? "
            "For this target: 26.07, 26.06, 26.05, 26.04",
        ),
        (
            ("--set", "target.release=1.3.0rc22"),
            "error: target.release: no Triton image in the lock has TensorRT-LLM 1.3.0rc22. The lock has 1.2.1, 1.2.0, "
            "1.1.0, 1.0.3.2510, 1.0.0, 0.21.0. Set one of these, or name an image that has both with --base IMAGE",
        ),
    ],
)
def test_a_mistake_is_one_line(trtkit: Run, argv: tuple[str, ...], expected: str) -> None:
    result = trtkit(*B200, *argv)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"{expected}\n")


def test_without_a_bundle_nothing_is_rendered(trtkit: Run, tmp_path: Path) -> None:
    result = trtkit("deploy", "k8s", "tiny-gpt-oss/cpu", "--set", f"engine.output={tmp_path / 'none'}")
    expected = f"error: {tmp_path}/none: there is no engine bundle. Type: trtkit engine RECIPE\n"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", expected)


def test_run_says_in_one_line_what_is_missing(trtkit: Run, tmp_path: Path) -> None:
    result = trtkit("deploy", "run", tmp_path)
    hint = f"Mount the folder that trtkit engine wrote at {tmp_path}"
    expected = f"error: {tmp_path}: no engine bundle is mounted here. {hint}\n"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", expected)


def test_health_where_nothing_serves(trtkit: Run) -> None:
    result = trtkit("deploy", "health", "127.0.0.1:1", "--metrics", "http://127.0.0.1:1/metrics", "--timeout", "2")
    expected = "error: 127.0.0.1:1: unhealthy: nothing serves there. Type: trtkit serve RECIPE\n"
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr in (expected, "error: 127.0.0.1:1: unhealthy: nothing serves there\n")


@contextmanager
def running(bundle: Path, root: Path, temporary: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """``deploy run`` on free ports, and its three addresses."""
    free = [word for name in ("grpc", "http", "metrics") for word in ("--set", f"serve.{name}_port=0")]
    command = [
        *TRTKIT,
        "deploy",
        "run",
        str(bundle),
        *free,
        "--set",
        "serve.host=127.0.0.1",
        "--set",
        "serve.grace_s=5",
    ]
    environment = {**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(temporary)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            lines = iter(process.stderr.readline, "")
            yield process, next(list(found.groups()) for line in lines if (found := SERVED.match(line)))
        finally:
            process.terminate()


@pytest.mark.triton
@pytest.mark.usefixtures("real_triton")
def test_a_container_serves_and_ends_with_its_model(trtkit: Run, bundle: Path, root: Path, tmp_path: Path) -> None:
    with running(bundle, root, tmp_path) as (process, (grpc, http, metrics)):
        healthy = trtkit("deploy", "health", grpc, "--metrics", metrics, "--timeout", "30")
        assert re.fullmatch(r"healthy: one token in \d+\.\d{3} s\n", healthy.output)
        for method, path in (("GET", "logging"), ("POST", "repository/index")):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(urllib.request.Request(f"{http}/v2/{path}", method=method))
        for pid in stubs(process.pid):
            os.kill(pid, signal.SIGKILL)
        assert process.stderr is not None
        *_, last = process.stderr.read().splitlines()
        assert process.wait(60) == 1
        assert last == f"error: {tmp_path}/trtkit/triton_repo.log: Triton's model process died"
        assert trtkit("deploy", "health", grpc, "--metrics", metrics, "--timeout", "2").exit_code == 1


@pytest.mark.triton
@pytest.mark.usefixtures("real_triton")
def test_sigterm_is_a_clean_end(bundle: Path, root: Path, tmp_path: Path) -> None:
    with running(bundle, root, tmp_path) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        *_, last = process.stderr.read().splitlines()
        assert (process.wait(60), last) == (0, "stopped")


def stubs(pid: int) -> list[int]:
    """Triton's model processes below ``pid``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "comm").read_text()
            session = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            parent = int((Path("/proc") / str(session) / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # it ended meanwhile
        if name.startswith("triton_python_b") and parent == pid:
            found.append(int(folder.name))
    return found


@pytest.mark.triton
@pytest.mark.usefixtures("real_triton")
def test_a_server_that_is_full_of_long_requests_is_healthy(
    trtkit: Run, root: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("narrow") / "bundle"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    narrow = ("--set", f"engine.output={folder}", "--set", "engine.max_batch_size=1")
    subprocess.run([*TRTKIT, "engine", "tiny-gpt-oss/cpu", *narrow], env=environment, check=True, capture_output=True)
    with running(folder, root, tmp_path) as (_, (grpc, _, metrics)):
        long = [*TRTKIT, "generate", "The file object", "--url", grpc, "--max-tokens", "1800", "--ignore-eos"]
        with subprocess.Popen(long, env=environment, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None
            assert client.stdout.read(1)  # the only slot is taken
            busy = trtkit("deploy", "health", grpc, "--metrics", metrics, "--timeout", "0.5")
            client.kill()
    assert busy.exit_code == 0
    assert re.fullmatch(r"healthy: busy with other requests \(.*Deadline Exceeded.*\)\n", busy.output)
