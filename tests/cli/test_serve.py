"""``trtkit repo`` and ``trtkit serve`` with the real Triton."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("real_triton")
TRTKIT = (sys.executable, "-c", "from toolkit.cli import main; main(prog_name='trtkit')")


@pytest.fixture
def recipe(trtkit: Run, tmp_path: Path) -> tuple[str, ...]:
    """Arguments that name a recipe whose bundle is built."""
    arguments = ("tiny-gpt-oss/cpu", "--set", f"engine.output={tmp_path / 'out'}")
    assert trtkit("engine", *arguments).exit_code == 0
    return (*arguments, "--set", f"serve.repository={tmp_path / 'repository'}")


def environment(root: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(root)}


@contextmanager
def serving(recipe: tuple[str, ...], root: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """``trtkit serve --json`` once it is ready, and what it printed then."""
    argv = [*TRTKIT, "serve", *recipe, "--json"]
    with subprocess.Popen(
        argv, env=environment(root), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.triton
def test_a_command_runs_against_the_server_and_its_exit_code_returns(recipe: tuple[str, ...], root: Path) -> None:
    script = '"$@" generate "If the file does not exist, the function" --max-tokens 9; exit 7'
    argv = [*TRTKIT, "serve", *recipe, "--", "sh", "-c", script, "sh", *TRTKIT]
    done = subprocess.run(argv, env=environment(root), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (
        7,
        " will call the method on the file.\n\n",
        "starting Triton\n",
    )


@pytest.mark.triton
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly_and_leaves_nothing(recipe: tuple[str, ...], root: Path, number: signal.Signals) -> None:
    with serving(recipe, root) as (process, served):
        assert set(served) == {"model", "grpc", "http", "metrics", "pid"}
        assert exists(served["pid"])
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr) == (0, "", "starting Triton\nstopped\n")
    assert not exists(served["pid"])


@pytest.mark.triton
def test_a_port_in_use_is_named_before_anything_starts(trtkit: Run, recipe: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = trtkit("serve", *recipe, "--set", f"serve.grpc_port={port}")
    assert (result.exit_code, result.stdout) == (1, "")
    assert str(port) in result.stderr
    assert "in use" in result.stderr


def test_no_bundle(trtkit: Run, tmp_path: Path) -> None:
    output = tmp_path / "none"
    for verb in ("repo", "serve"):
        result = trtkit(verb, "tiny-gpt-oss/cpu", "--set", f"engine.output={output}")
        expected = f"error: {output}: there is no engine bundle. Type: trtkit engine RECIPE\n"
        assert (result.exit_code, result.stderr) == (1, expected)


def test_repo_prints_the_folder(trtkit: Run, recipe: tuple[str, ...], tmp_path: Path) -> None:
    result = trtkit("repo", *recipe)
    folder = tmp_path / "repository"
    assert (result.exit_code, result.stdout) == (0, f"{folder}\n")
    assert (folder / "tensorrt_llm" / "1" / "model.py").is_file()
    config = (folder / "tensorrt_llm" / "config.pbtxt").read_text()
    assert "model_transaction_policy { decoupled: true }" in config
    assert "max_batch_size: 0" in config


@pytest.mark.triton
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_nothing_is_left_when_it_is_killed_or_its_terminal_closes(
    recipe: tuple[str, ...], root: Path, number: signal.Signals
) -> None:
    with serving(recipe, root) as (process, served):
        process.send_signal(number)
    deadline = time.monotonic() + 30
    while exists(served["pid"]):
        assert time.monotonic() < deadline, "tritonserver lives on"
        time.sleep(0.05)


@pytest.mark.triton
def test_an_interrupted_command_ends_with_all_it_started(recipe: tuple[str, ...], root: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 300 & echo $! $$ > {pids}.new && mv {pids}.new {pids}; wait"
    argv = [*TRTKIT, "serve", *recipe, "--", "sh", "-c", script]
    with subprocess.Popen(argv, env=environment(root), stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while not pids.exists():
            assert time.monotonic() < deadline, "the command never ran"
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "starting Triton\nstopped\n")
    assert not any(exists(int(pid)) for pid in pids.read_text().split())


@pytest.mark.triton
def test_a_host_may_be_a_name(recipe: tuple[str, ...], root: Path) -> None:
    argv = [*TRTKIT, "serve", *recipe, "--set", "serve.host=localhost", "--timeout", "30", "--", "true"]
    done = subprocess.run(argv, env=environment(root), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "starting Triton\n")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (
            "no.such.host.invalid",
            "error: serve.host: 'no.such.host.invalid' has no IPv4 address. "
            "Set serve.host to an IPv4 address of this machine",
        ),
        (
            "192.0.2.1",
            "error: cannot bind grpc port 0 on 192.0.2.1: cannot assign requested address. "
            "Set serve.host to an address of this machine",
        ),
    ],
)
def test_hosts_that_are_not_here(trtkit: Run, recipe: tuple[str, ...], host: str, expected: str) -> None:
    result = trtkit("serve", *recipe, "--set", f"serve.host={host}")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, expected)


@pytest.mark.triton
def test_a_proxy_in_the_environment_is_not_asked(recipe: tuple[str, ...], root: Path) -> None:
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), "http://127.0.0.1:9")
    argv = [*TRTKIT, "serve", *recipe, "--timeout", "30", "--", *TRTKIT, "generate", "A thread is", "--max-tokens", "3"]
    done = subprocess.run(argv, env={**environment(root), **proxies}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "starting Triton\n")
    assert done.stdout.startswith(" not")


@pytest.mark.triton
def test_two_servers_of_one_repository(trtkit: Run, recipe: tuple[str, ...], root: Path, tmp_path: Path) -> None:
    with serving(recipe, root) as (process, _):
        for verb in ("serve", "repo"):
            result = trtkit(verb, *recipe)
            hint = "Stop it, or choose another folder with --set serve.repository=DIR"
            expected = f"error: {tmp_path / 'repository'}: a server runs from this model repository. {hint}"
            assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, expected)
        process.send_signal(signal.SIGTERM)


@pytest.mark.triton
def test_a_dead_model_process_ends_serve_with_the_reason(recipe: tuple[str, ...], root: Path) -> None:
    with serving(recipe, root) as (process, served):
        stubs = subprocess.run(["pgrep", "-P", str(served["pid"])], capture_output=True, text=True, check=True).stdout
        for pid in stubs.split():
            os.kill(int(pid), signal.SIGKILL)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Triton's model process died" in stderr.splitlines()[-1]
    assert not exists(served["pid"])


@pytest.mark.parametrize("prompt", ["\udcff", "-"])
def test_a_prompt_that_is_not_utf8(recipe: tuple[str, ...], root: Path, prompt: str) -> None:
    argv = [*TRTKIT, "generate", prompt, "--local", *recipe[:3]]
    done = subprocess.run(argv, env=environment(root), input=b"ab\xff", capture_output=True, timeout=60)
    place = 0 if prompt != "-" else 2
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().endswith(f"Error: PROMPT is not UTF-8 at character {place}.\n")
