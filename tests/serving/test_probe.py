from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.serving.grpc_server import config, error, message, served
from toolkit.errors import ClientError, ConnectError, DeadlineError, UnsupportedError
from toolkit.serving.probe import probe

MODELS = Path(__file__).parents[1] / "fakes" / "triton_models"


async def answers(request: Any, context: Any) -> AsyncIterator[Any]:
    yield message(text_output="", finish_reason="length")


async def stops_short(request: Any, context: Any) -> AsyncIterator[Any]:
    yield message(text_output="")


async def refuses(request: Any, context: Any) -> AsyncIterator[Any]:
    yield error("the engine died: out of luck")


def inputs(request: Any) -> dict[str, bytes]:
    return dict(zip((tensor.name for tensor in request.inputs), request.raw_input_contents, strict=True))


def test_one_token_of_ours() -> None:
    with served(answers) as (url, seen):
        probe(url, "tensorrt_llm", timeout_s=20)
    [request] = seen.requests
    sent = inputs(request)
    assert sent["input_ids"] == b"\0\0\0\0"
    assert sent["sampling_param_max_tokens"] == b"\1\0\0\0"
    assert sent["sampling_param_ignore_eos"] == b"\1"


def test_one_token_of_another_model() -> None:
    with served(stops_short) as (url, seen):
        seen.served = config((MODELS / "ensemble" / "ensemble" / "config.pbtxt").read_text())
        probe(url, "ensemble", timeout_s=20)
    [request] = seen.requests
    assert inputs(request)["text_input"] == b"\1\0\0\0a"


def test_what_keeps_a_model_from_generating() -> None:
    for answer, said in ((stops_short, "the stream ended before the generation did"), (refuses, "the engine died")):
        with served(answer) as (url, _), pytest.raises(ClientError, match=said):
            probe(url, "tensorrt_llm", timeout_s=20)
    with served(answers) as (url, seen):
        seen.served = config('name: "m"')
        with pytest.raises(UnsupportedError, match="model 'm' has neither trtkit's inputs"):
            probe(url, "m", timeout_s=20)
    with pytest.raises(ConnectError, match="nothing serves there"):
        probe("127.0.0.1:1", "m", timeout_s=20)


def test_server_that_never_answers() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening, pytest.raises(DeadlineError):
        probe(f"127.0.0.1:{listening.getsockname()[1]}", "m", timeout_s=0.1)
