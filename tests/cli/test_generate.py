from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import Result

from tests.serving.grpc_server import error, message, served
from tests.serving.test_connection import make_certificate

Run = Callable[..., Result]
PROMPT = "If the file does not exist, the function"
# What transformers generates greedily from the same weights dequantised (samples/tiny-gpt-oss/PROVENANCE.md).
WANTED = " will call the method on the file.\n\nChanged in version 3.3: The function now uses the file"


@pytest.fixture
def built(trtkit: Run, tmp_path: Path) -> tuple[str, ...]:
    """Arguments that name a built bundle of the sample."""
    arguments = ("--local", "tiny-gpt-oss/cpu", "--set", f"engine.output={tmp_path / 'out'}")
    assert trtkit("engine", *arguments[1:]).exit_code == 0
    return arguments


def test_local_text_is_recognisable_and_transformers_own(trtkit: Run, built: tuple[str, ...]) -> None:
    result = trtkit("generate", PROMPT, *built, "--max-tokens", 40)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(WANTED)
    assert result.stdout.endswith("\n")


def test_a_harmony_turn_ends_by_itself(trtkit: Run, built: tuple[str, ...]) -> None:
    turn = "<|start|>user<|message|>Explain the datetime module.<|end|><|start|>assistant"
    result = trtkit("generate", turn, *built, "--max-tokens", 200, "--json", "--keep-special-tokens")
    completion = json.loads(result.stdout)
    assert completion["finish_reason"] == "stop"
    assert completion["text"].startswith("<|channel|>analysis<|message|>")
    assert "<|end|><|start|>assistant<|channel|>final<|message|>" in completion["text"]


def test_json_counts_tokens(trtkit: Run, built: tuple[str, ...]) -> None:
    completion = json.loads(trtkit("generate", PROMPT, *built, "--max-tokens", 8, "--json").stdout)
    assert len(completion["token_ids"]) == completion["output_tokens"] == 8
    assert completion["finish_reason"] == "length"
    assert WANTED.startswith(completion["text"])
    assert 0 < completion["ttft_s"] < completion["total_s"]


def test_a_stop_string_is_left_out(trtkit: Run, built: tuple[str, ...]) -> None:
    result = trtkit("generate", PROMPT, *built, "--max-tokens", 40, "--stop", "Changed in")
    assert result.stdout == " will call the method on the file.\n\n\n"


def test_the_prompt_may_come_from_stdin(built: tuple[str, ...]) -> None:
    from click.testing import CliRunner

    from toolkit.cli import main

    result = CliRunner().invoke(main, ["generate", "-", *built, "--max-tokens", "40"], input=PROMPT)
    assert result.stdout.startswith(WANTED)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--temperature", "-1"), "temperature"),
        (("--top-p", "0"), "top_p"),
        (("--max-tokens", "0"), "max_tokens"),
        (("--stop-token-id", "99999"), "stop_token_ids"),
    ],
)
def test_impossible_sampling_names_the_parameter(
    trtkit: Run, built: tuple[str, ...], arguments: tuple[str, ...], expected: str
) -> None:
    result = trtkit("generate", PROMPT, *built, *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {expected}")
    assert result.stderr.count("\n") == 1


def test_a_prompt_beyond_the_context(trtkit: Run, built: tuple[str, ...]) -> None:
    result = trtkit("generate", "word " * 3000, *built)
    assert result.exit_code == 1
    assert "but prompt and output share a context of 2048" in result.stderr


def test_no_bundle(trtkit: Run, tmp_path: Path) -> None:
    result = trtkit("generate", "x", "--local", "tiny-gpt-oss/cpu", "--set", f"engine.output={tmp_path / 'none'}")
    assert (result.exit_code, result.stderr) == (
        1,
        f"error: {tmp_path / 'none'}: there is no engine bundle. Type: trtkit engine RECIPE\n",
    )


def test_where_to_generate(trtkit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRTKIT_URL", raising=False)
    result = trtkit("generate", "x")
    assert result.exit_code == 2
    assert "Give exactly one of --url and --local." in result.stderr


def test_nothing_serves_there(trtkit: Run) -> None:
    result = trtkit("generate", "x", "--url", "127.0.0.1:1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert "127.0.0.1:1" in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_unknown_option_gets_the_nearest(trtkit: Run) -> None:
    result = trtkit("generate", "x", "--temprature", "1")
    assert result.exit_code == 2
    assert "--temperature" in result.stderr


async def echo(request: Any, context: Any) -> AsyncIterator[Any]:
    """The request id, and the header x-user."""
    headers = dict(context.invocation_metadata())
    yield message(text_output=f"{request.id} for {headers.get('x-user')}", finish_reason="length")


def test_request_id_and_headers_go_along(trtkit: Run) -> None:
    with served(echo) as (url, _):
        result = trtkit("generate", "x", "--url", url, "--request-id", "r1", "--header", "X-User=me=you")
    assert (result.exit_code, result.stdout) == (0, "r1 for me=you\n")


@pytest.mark.parametrize(
    ("given", "options"),
    [((), set()), (("--keepalive", "600"), {("grpc.keepalive_time_ms", 600_000)})],
)
def test_keepalive(
    trtkit: Run, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], options: set[tuple[str, int]]
) -> None:
    real, opened = grpc.aio.insecure_channel, []
    monkeypatch.setattr(grpc.aio, "insecure_channel", lambda url, options: opened.append(options) or real(url, options))
    with served(echo) as (url, _):
        result = trtkit("generate", "x", "--url", url, *given)
    assert (result.exit_code, result.stdout) == (0, " for None\n")
    [of_channel] = opened
    assert {option for option in of_channel if option[0] == "grpc.keepalive_time_ms"} == options


def test_tls(trtkit: Run, tmp_path: Path) -> None:
    key, certificate = make_certificate(tmp_path)
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    with served(echo, credentials=credentials) as (url, _):
        trusting = trtkit("generate", "x", "--url", url, "--tls-root", certificate)
        doubting = trtkit("generate", "x", "--url", url, "--tls")
        plain = trtkit("generate", "x", "--url", url)
    assert (trusting.exit_code, trusting.stdout) == (0, " for None\n")
    for result in (doubting, plain):
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert doubting.stderr.startswith(f"error: {url}: no TLS connection: ")


def test_retries(trtkit: Run) -> None:
    async def full(request: Any, context: Any) -> AsyncIterator[Any]:
        yield error("the queue is full: 1 requests are running or waiting")

    with served(full) as (url, seen):
        result = trtkit("generate", "x", "--url", url, "--retries", "1")
        assert len(seen.requests) == 2
    assert result.stderr == "error: the queue is full: 1 requests are running or waiting\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--keepalive", "299"), "299.0 is not in the range 300<=x<=1000000.0"),
        (("--header", "a"), "--header 'a' has no '='; write NAME=VALUE."),
        (("--local", "tiny-gpt-oss/cpu", "--tls"), "TLS, headers, keepalive, request ids and retries go with --url."),
        (
            ("--local", "tiny-gpt-oss/cpu", "--request-id", "x"),
            "TLS, headers, keepalive, request ids and retries go with --url.",
        ),
    ],
)
def test_usage_of_connection_options(trtkit: Run, arguments: tuple[str, ...], said: str) -> None:
    result = trtkit("generate", "x", *(() if "--local" in arguments else ("--url", "h:1")), *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--header", "a b=c"), "error: 'a b' cannot be the name of a header\n"),
        (("--tls-key", "none"), "error: a client key and its certificate go together. Give both, or neither\n"),
        (("--tls-root", "none"), "error: none: No such file or directory\n"),
    ],
)
def test_connection_that_cannot_be_made(trtkit: Run, arguments: tuple[str, ...], said: str) -> None:
    result = trtkit("generate", "x", "--url", "h:1", *arguments)
    assert (result.exit_code, result.stderr) == (1, said)


def test_grpc_logs_nothing_beside_the_error(root: Path) -> None:
    code = "from toolkit.cli import main; main()"
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    with served(echo) as (url, _):
        result = subprocess.run(
            [sys.executable, "-c", code, "generate", "x", "--url", url, "--tls"],
            env=environment | {"PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith(f"error: {url}: no TLS connection: ")


@pytest.mark.parametrize("option", ["--timeout", "--first-token-timeout", "--idle-timeout"])
def test_a_deadline_is_a_number(trtkit: Run, option: str) -> None:
    result = trtkit("generate", "a", "--url", "127.0.0.1:1", option, "nan")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].endswith("nan is no number of seconds.")
