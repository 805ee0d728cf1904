from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serving.grpc_server import message
from toolkit.errors import ClientError
from toolkit.serving.contract import Contract, own
from toolkit.serving.reader import Deltas, Reader
from toolkit.serving.wire import Chunk

LLMAPI = Contract("m", "llmapi", {}, {}, cumulative=True)
ENSEMBLE = Contract("m", "ensemble", {}, {}, batched=True)


def deltas(*texts: str) -> list[str]:
    stream = Deltas()
    return [*(stream.push(text) for text in texts), stream.finish()]


def test_cumulative_text_becomes_deltas() -> None:
    assert deltas("a", "a", "abc", "abcd") == ["a", "", "bc", "d", ""]


def test_incomplete_character_is_held_back() -> None:
    assert deltas("a", "a�", "a��", "aé", "aé�") == ["a", "", "", "é", "", "�"]


def test_rewritten_tail_goes_on_where_it_differs() -> None:
    assert deltas("Hello ", "Hello. A") == ["Hello ", ". A", ""]
    assert deltas("abc", "ab", "abcd") == ["abc", "", "d", ""]


@given(st.lists(st.text(alphabet="ab�é", max_size=4), max_size=6))
def test_deltas_add_up_to_the_whole(pieces: list[str]) -> None:
    whole = ["".join(pieces[:count]) for count in range(1, len(pieces) + 1)]
    assert "".join(deltas(*whole)) == "".join(pieces)


def test_llmapi_stream() -> None:
    reader = Reader(LLMAPI)
    messages = [
        message(text_output="a", finish_reason="None", stop_reason="None"),
        message(text_output="ab�", finish_reason="None", stop_reason="None"),
        message(text_output="ab�", finish_reason="length", stop_reason="None"),
    ]
    assert [reader.read(one, 7) for one in messages] == [
        Chunk("a", (), 7),
        Chunk("b", (), 7),
        Chunk("�", (), 7, "length"),
    ]
    assert list(reader.finish(8)) == []


def test_llmapi_stream_that_ends_without_a_reason() -> None:
    reader = Reader(LLMAPI)
    assert reader.read(message(text_output="a�"), 7) == Chunk("a", (), 7)
    assert list(reader.finish(8)) == [Chunk("�", (), 8)]


def test_ensemble_counts_the_tokens_of_each_response() -> None:
    reader = Reader(ENSEMBLE)
    chunks = [
        reader.read(message(text_output=text, num_input_tokens=[3], num_output_tokens=[count]), 7)
        for text, count in (("a", 1), ("bc", 2), ("", 0))
    ]
    assert [(chunk.text, chunk.prompt_tokens, chunk.output_tokens) for chunk in chunks] == [
        ("a", 3, 1),
        ("bc", 3, 3),
        ("", 3, 3),
    ]
    assert list(reader.finish(8)) == []


def test_stream_without_a_message_is_an_empty_completion_elsewhere_and_an_error_here() -> None:
    assert list(Reader(ENSEMBLE).finish(8)) == [Chunk("", (), 8)]
    for reader in (Reader(own("m")), Reader(replace(own("m"), cumulative=True))):
        reader.read(message(text_output="a"), 7)
        with pytest.raises(ClientError, match="the stream ended before the generation did"):
            list(reader.finish(8))


def test_a_stop_string_of_ours_may_be_called_none() -> None:
    chunk = Reader(own("m")).read(message(text_output="", finish_reason="stop", stop_reason="None"), 7)
    assert (chunk.finish_reason, chunk.stop_reason) == ("stop", "None")
