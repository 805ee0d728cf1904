"""Text deltas: whole characters, stop strings, and what ``generate_text`` makes of an engine's events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from toolkit.engine.runtime.protocol import Event, PerfMetrics, Request, SamplingParams, Stats
from toolkit.engine.text import MAX_STOP_LENGTH, MAX_STOPS, TextEvent, TextStream, Tokenizer, generate_text
from toolkit.errors import CheckpointError, RequestError

RETURN, END = 256, 257


def byte_tokenizer() -> tokenizers.Tokenizer:
    """One token for each byte, id = byte value, and two special tokens."""
    vocabulary = {char: byte for byte, char in enumerate(_byte_characters())}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<|return|>", "<|end|>"])
    return made


def _byte_characters() -> list[str]:
    """The character that byte-level BPE (GPT-2) shows for each byte: itself if printable, else from 256 upwards."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


TOKENIZER = Tokenizer(byte_tokenizer(), (RETURN,))


def pieces(ids: Sequence[int], cuts: Sequence[int]) -> list[Sequence[int]]:
    edges = sorted({0, len(ids), *(cut % (len(ids) + 1) for cut in cuts)})
    return [ids[begin:end] for begin, end in pairwise(edges)]


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, str | None]:
    """Read character by character; the first stop string to be complete cuts, the longest where several are."""
    for end in range(1, len(text) + 1):
        complete = [one for one in stop if text[:end].endswith(one)]
        if complete:
            longest = max(complete, key=len)
            return text[: end - len(longest)], longest
    return text, None


def test_tokenizer_round_trip() -> None:
    text = "Größe: 3 €, 🙂 naïve\n"
    assert TOKENIZER.encode(text) == list(text.encode())
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_special_tokens_are_encoded_and_skipped() -> None:
    ids = TOKENIZER.encode("a<|end|>b")
    assert ids == [97, END, 98]
    assert TOKENIZER.decode(ids) == "ab"
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == "a<|end|>b"


def test_plain_ids_are_those_of_no_added_token() -> None:
    assert TOKENIZER.plain_ids == list(range(256))


def test_open_reads_the_tokenizer_and_the_end_tokens(tmp_path: Path) -> None:
    byte_tokenizer().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [RETURN, END]}))
    opened = Tokenizer.open(tmp_path)
    assert (opened.encode("hi"), opened.eos_ids) == ([104, 105], (RETURN, END))


def test_open_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        Tokenizer.open(tmp_path)
    assert (caught.value.what, caught.value.where) == ("no tokenizer.json", str(tmp_path))
    assert caught.value.hint is not None
    assert "checkpoint.tokenizer" in caught.value.hint


@pytest.mark.parametrize("content", [b"{}", b"not json", b"\xff\xfe"])
def test_open_with_a_damaged_tokenizer(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        Tokenizer.open(tmp_path)
    assert caught.value.what.startswith("not a tokenizer: ")
    assert caught.value.where == str(tmp_path / "tokenizer.json")


def test_a_character_is_sent_when_its_last_byte_is_there() -> None:
    stream = TextStream(TOKENIZER)
    assert [stream.push([byte]) for byte in "a€🙂".encode()] == ["a", "", "", "€", "", "", "", "🙂"]
    assert stream.finish() == ""


def test_an_unfinished_character_comes_out_at_the_end() -> None:
    stream = TextStream(TOKENIZER)
    assert [stream.push([byte]) for byte in "a€".encode()[:-1]] == ["a", "", ""]
    assert stream.finish() == "�"


def test_broken_bytes_do_not_hold_back_what_follows() -> None:
    stream = TextStream(TOKENIZER)
    assert [stream.push([byte]) for byte in (0xFF, 0xFF, 0xC3, 0x41)] == ["", "�", "�", "�A"]


def test_a_stop_string_cuts_and_nothing_of_it_is_sent() -> None:
    stream = TextStream(TOKENIZER, ["STOP", "END"])
    assert [stream.push([byte]) for byte in b"xSTxSTOPy"] == ["x", "", "", "STx", "", "", "", "", ""]
    assert (stream.stopped, stream.finish()) == ("STOP", "")


def test_a_held_start_comes_out_at_the_end() -> None:
    stream = TextStream(TOKENIZER, ["STOP"])
    assert (stream.push(list(b"xSTO")), stream.finish(), stream.stopped) == ("x", "STO", None)


def test_the_first_complete_stop_string_wins_and_the_longest_of_those() -> None:
    stream = TextStream(TOKENIZER, ["abcd", "bc", "abc"])
    assert (stream.push(list(b"xabcd")), stream.stopped) == ("x", "abc")


def test_special_tokens_can_stop_a_stream_that_shows_them() -> None:
    stream = TextStream(TOKENIZER, ["<|end|>"], skip_special_tokens=False)
    assert (stream.push([97, END, 98]), stream.stopped) == ("a", "<|end|>")


@pytest.mark.parametrize(
    ("stop", "what"),
    [
        (["x", ""], "stop has a string of 0 characters, but one has 1 to 256"),
        (["x" * 257], "stop has a string of 257 characters, but one has 1 to 256"),
        ([f"x{n}" for n in range(65)], "stop has 65 strings, but may have 64"),
    ],
)
def test_stop_strings_that_are_refused(stop: list[str], what: str) -> None:
    with pytest.raises(RequestError) as caught:
        TextStream(TOKENIZER, stop)
    assert caught.value.what == what


def test_refused_stop_strings_reach_no_engine() -> None:
    engine = ScriptedEngine(*said("a"))
    with pytest.raises(RequestError, match="stop has 20000 strings"):
        collect(engine, [str(n) for n in range(20_000)])
    assert (engine.submitted, engine.cancelled) == ([], [])


def test_as_many_and_as_long_stop_strings_as_there_may_be() -> None:
    stop = [chr(97 + n % 26) * (MAX_STOP_LENGTH - n // 26) for n in range(MAX_STOPS)]
    stream = TextStream(TOKENIZER, stop)
    # "b" may begin one until there are as many as in the shortest of its kind
    shortest = min(len(one) for one in stop if one[0] == "b")
    text = "".join(stream.push([byte]) for byte in b"xa" + b"b" * shortest)
    assert (text, stream.stopped) == ("xa", "b" * shortest)


BYTES = st.lists(st.one_of(st.sampled_from(b"ab"), st.sampled_from("é€🙂".encode()), st.integers(0, 257)), max_size=30)
STOPS = st.lists(st.text("abé€", min_size=1, max_size=4), max_size=3)


@given(BYTES, STOPS, st.lists(st.integers(0, 30), max_size=8), st.booleans())
def test_the_sum_of_the_deltas_is_the_decoded_text_up_to_the_stop(
    ids: list[int], stop: list[str], cuts: list[int], skip: bool
) -> None:
    stream = TextStream(TOKENIZER, stop, skip)
    deltas = [stream.push(part) for part in pieces(ids, cuts)]
    assert ("".join(deltas) + stream.finish(), stream.stopped) == cut_at_stop(TOKENIZER.decode(ids, skip), stop)


@given(st.text("abé€🙂�"), STOPS, st.lists(st.integers(0, 60), max_size=12))
def test_no_delta_splits_a_character_and_nothing_certain_waits(text: str, stop: list[str], cuts: list[int]) -> None:
    stream, seen, sent = TextStream(TOKENIZER, stop), b"", ""
    for part in pieces(list(text.encode()), cuts):
        seen += bytes(part)
        sent += stream.push(part)
        whole = seen.decode(errors="replace").removesuffix("�")  # the last one may be bytes that are still incomplete
        expected, stopped = cut_at_stop(whole, stop)
        if stopped is None:
            starts = (one[:length] for one in stop for length in range(1, len(one)))
            expected = expected[: len(expected) - max((len(s) for s in starts if expected.endswith(s)), default=0)]
        assert sent == expected


class ScriptedEngine:
    """Plays back events; notes what is cancelled."""

    max_seq_len = 100

    def __init__(self, *events: Event) -> None:
        self._events = events
        self.submitted: list[str] = []
        self.cancelled: list[str] = []

    async def submit(self, request: Request) -> AsyncIterator[Event]:
        self.submitted.append(request.request_id)
        for event in self._events:
            yield event

    def cancel(self, request_id: str) -> None:
        self.cancelled.append(request_id)

    def stats(self) -> Stats:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def said(*texts: str) -> list[Event]:
    return [Event(tuple(text.encode()), 0) for text in texts]


def collect(
    engine: ScriptedEngine, stop: Sequence[str] = (), *, skip_special_tokens: bool = True, **sampling: int
) -> list[TextEvent]:
    request = Request("r", (1, 2, 3), SamplingParams(**sampling))

    async def scenario() -> list[TextEvent]:
        events = generate_text(engine, TOKENIZER, request, stop, skip_special_tokens=skip_special_tokens)
        return [event async for event in events]

    return asyncio.run(scenario())


def test_generate_text_ends_with_the_engines_reason() -> None:
    engine = ScriptedEngine(*said("Hel", "lo"), Event((0xE2, 0x82), 0, finish_reason="length"))
    assert collect(engine, ["lot"]) == [
        TextEvent("He", (72, 101, 108), (), None, None, 3, 3),
        TextEvent("l", (108, 111), (), None, None, 3, 5),
        TextEvent("lo�", (0xE2, 0x82), (), "length", None, 3, 7),
    ]
    assert engine.cancelled == []


def test_generate_text_leaves_out_the_text_of_the_end_token() -> None:
    for token, shown in ((RETURN, False), (RETURN, True), (120, False)):
        engine = ScriptedEngine(*said("Hi"), Event((token,), 0, finish_reason="stop", stop_token_id=token))
        events = collect(engine, skip_special_tokens=shown)
        assert "".join(event.text for event in events) == "Hi"
        assert (events[-1].token_ids, events[-1].finish_reason, events[-1].stop_reason) == ((token,), "stop", token)


def test_generate_text_cancels_at_a_stop_string() -> None:
    engine = ScriptedEngine(*said("one ST", "OP two", " three"))
    assert collect(engine, ["STOP"]) == [
        TextEvent("one ", tuple(b"one ST"), (), None, None, 3, 6),
        TextEvent("", tuple(b"OP two"), (), "stop", "STOP", 3, 12),
    ]
    assert engine.cancelled == ["r"]


def test_the_last_text_has_what_the_engine_said_so_far() -> None:
    perf = PerfMetrics(arrival_ns=1, first_scheduled_ns=2, first_token_ns=3)
    events = [Event(tuple(text.encode()), 0, cached_tokens=32, perf=perf) for text in ("one ", "STOP", "two")]
    given = [(event.cached_tokens, event.perf) for event in collect(ScriptedEngine(*events), ["STOP"])]
    assert given == [(None, None), (32, perf)]


def test_a_stop_string_in_the_last_event_needs_no_cancel() -> None:
    engine = ScriptedEngine(*said("one ST"), Event(tuple(b"OP"), 0, finish_reason="length"))
    assert collect(engine, ["STOP"])[-1] == TextEvent("", tuple(b"OP"), (), "stop", "STOP", 3, 8)
    assert engine.cancelled == []


def test_min_tokens_come_before_any_stop_string() -> None:
    engine = ScriptedEngine(*said("a", "X", "b", "X", "c"))
    events = collect(engine, ["X"], min_tokens=2)
    assert "".join(event.text for event in events) == "aXb"
    assert (events[-1].stop_reason, events[-1].output_tokens, engine.cancelled) == ("X", 4, ["r"])


def test_min_tokens_count_inside_an_event() -> None:
    engine = ScriptedEngine(*said("aXbXc"))
    events = collect(engine, ["X"], min_tokens=2)
    assert [(event.text, event.stop_reason, event.output_tokens) for event in events] == [("aXb", "X", 5)]


def test_leaving_generate_text_cancels() -> None:
    engine = ScriptedEngine(*said("a", "b", "c"))

    async def scenario() -> None:
        events = generate_text(engine, TOKENIZER, Request("r", (1,)))
        assert (await anext(events)).text == "a"
        await events.aclose()

    asyncio.run(scenario())
    assert engine.cancelled == ["r"]


def test_a_cancelled_request_ends_as_cancelled() -> None:
    engine = ScriptedEngine(*said("a"), Event((), 0, finish_reason="cancelled"))
    assert collect(engine)[-1] == TextEvent("", (), (), "cancelled", None, 3, 1)
