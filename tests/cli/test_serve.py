"""``trtkit repo`` and ``trtkit serve`` with the real Triton."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from toolkit.errors import TrtkitError
from toolkit.serving import triton

Run = Callable[..., Result]
TRTKIT = (sys.executable, "-c", "from toolkit.cli import main; main(prog_name='trtkit')")


@pytest.fixture(autouse=True)
def _needs_triton() -> None:
    try:
        triton.find()
    except TrtkitError as error:
        pytest.skip(str(error))


@pytest.fixture
def recipe(trtkit: Run, tmp_path: Path) -> tuple[str, ...]:
    """Arguments that name a recipe whose bundle is built."""
    arguments = ("tiny-gpt-oss/cpu", "--set", f"engine.output={tmp_path / 'out'}")
    assert trtkit("engine", *arguments).exit_code == 0
    return (*arguments, "--set", f"serve.repository={tmp_path / 'repository'}")


def environment(root: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(root)}


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
    argv = [*TRTKIT, "serve", *recipe, "--json"]
    with subprocess.Popen(
        argv, env=environment(root), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        served = json.loads(process.stdout.readline())
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
