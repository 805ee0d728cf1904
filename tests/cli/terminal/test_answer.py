from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.chat.templates import write_tokenizer
from toolkit.chat import ChatDelta, open_chat
from toolkit.cli.terminal.answer import Answer
from toolkit.errors import ClientError
from toolkit.serving.wire import Chunk


async def chunks(*tokens: int, fails: bool = False) -> AsyncGenerator[Chunk, None]:
    now = time.monotonic_ns()
    for place, token in enumerate(tokens, 1):
        last = place == len(tokens) and not fails
        ended = {"finish_reason": "stop", "prompt_tokens": 7, "output_tokens": len(tokens)} if last else {}
        yield Chunk("", (token,), now + place * 10**9, **ended)  # type: ignore[arg-type]
    if fails:
        raise ClientError("it broke")


@pytest.fixture
def heard() -> list[ChatDelta]:
    return []


def listen(folder: Path, heard: list[ChatDelta], source: AsyncGenerator[Chunk, None]) -> Answer:
    answer = Answer(open_chat(write_tokenizer(folder, "x")).parser(), heard.append)
    asyncio.run(answer.listen(source))
    return answer


def test_a_whole_answer(tmp_path: Path, heard: list[ChatDelta]) -> None:
    answer = listen(tmp_path, heard, chunks(*b"abc"))
    assert heard == answer.deltas == [ChatDelta("final", text) for text in "abc"]
    assert (answer.prompt_tokens, answer.output_tokens, answer.finish_reason) == (7, 3, "stop")
    assert answer.ttft_s is not None
    assert answer.total_s - answer.ttft_s == pytest.approx(2)
    assert answer.tokens_per_s == pytest.approx(1)
    assert answer.describe().endswith(" s · 1.0 tok/s · 7 + 3 tokens · stop")


def test_what_was_said_before_a_failure_is_kept(tmp_path: Path, heard: list[ChatDelta]) -> None:
    half = "é".encode()[:1]
    with pytest.raises(ClientError, match="it broke"):
        listen(tmp_path, heard, chunks(*b"ab", *half, fails=True))
    assert "".join(delta.text for delta in heard) == "ab\N{REPLACEMENT CHARACTER}"


def test_one_token_has_no_rate(tmp_path: Path, heard: list[ChatDelta]) -> None:
    answer = listen(tmp_path, heard, chunks(97))
    assert answer.tokens_per_s is None
    assert "tok/s" not in answer.describe()


def test_an_answer_that_never_came() -> None:
    answer = Answer(None, print)  # type: ignore[arg-type]
    assert answer.describe() == "0 tokens · stopped"
