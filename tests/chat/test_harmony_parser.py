from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chat.o200k import SPECIAL, ids_of
from toolkit.chat import ChatDelta, to_message
from toolkit.chat.harmony import HarmonyChat
from toolkit.chat.harmony_parser import LAST_ID, MOST_HEADER_TOKENS

Said = list[tuple[str, str, str | None]]
ANALYSIS = "<|channel|>analysis<|message|>Two and two.<|end|>"
FINAL = "<|start|>assistant<|channel|>final<|message|>"
LONG = "It goes on and on. " * 20


def said(deltas: list[ChatDelta]) -> Said:
    """Channel, text and recipient of each message."""
    messages: dict[int, tuple[str, str, str | None]] = {}
    for delta in deltas:
        before = messages.get(delta.index, ("", "", None))[1]
        messages[delta.index] = (delta.channel, before + delta.text, delta.recipient)
    return list(messages.values())


def parse(harmony: HarmonyChat, token_ids: list[int], step: int = 1) -> list[ChatDelta]:
    parser = harmony.parser()
    pieces = [token_ids[begin : begin + step] for begin in range(0, len(token_ids), step)]
    return [delta for piece in pieces for delta in parser.push(piece)] + parser.finish()


WELL_FORMED: list[tuple[str, Said]] = [
    (f"{ANALYSIS}{FINAL}4 👩‍🚀!<|return|>", [("analysis", "Two and two.", None), ("final", "4 👩‍🚀!", None)]),
    (
        "<|channel|>commentary to=functions.add <|constrain|>json<|message|>{}<|call|>",
        [("commentary", "{}", "functions.add")],
    ),
    (" to=functions.add<|channel|>commentary json<|message|>{}<|call|>", [("commentary", "{}", "functions.add")]),
    ("<|channel|>analysis to=python code<|message|>1+1<|call|>", [("analysis", "1+1", "python")]),
    ("<|channel|>commentary to=functions.now<|message|><|call|>", [("commentary", "", "functions.now")]),
    ("<|channel|>final <|constrain|>json<|message|>{}<|return|>", [("final", "{}", None)]),
    ("<|channel|>final<|message|>cut of", [("final", "cut of", None)]),
    ("", []),
]

MALFORMED: list[tuple[str, Said]] = [
    # openai/harmony #38: more in a header than it can hold
    (
        "<|channel|>commentary to=functions.add to=functions.add<|message|>{}<|call|>",
        [("commentary", "{}", "functions.add")],
    ),
    (
        "<|channel|>commentary one two three<|message|>x<|end|>",
        [("raw", " one two three", None), ("commentary", "x", None)],
    ),
    # openai/harmony #60: text where a message begins
    (f"{ANALYSIS} 364 {FINAL}4", [("analysis", "Two and two.", None), ("final", " 364 ", None), ("final", "4", None)]),
    (
        f"{ANALYSIS}assistant<|channel|>final<|message|>4",
        [("analysis", "Two and two.", None), ("final", "4", None)],
    ),
    # openai/harmony #33: the end before the header is whole
    ("<|channel|>final", []),
    ("assistant", []),
    ("<|channel|>final Four.<|return|>", [("final", " Four.", None)]),
    ("<|channel|>analysisHm.<|end|>", [("analysis", "Hm.", None)]),
    ('<|channel|>commentary to=functions.add {"a":1}<|call|>', [("commentary", '  {"a":1}', "functions.add")]),
    ("Four, without any format.<|return|>", [("final", "Four, without any format.", None)]),
    ("assistant is a word.<|return|>", [("final", "assistant is a word.", None)]),
    (LONG, [("final", LONG, None)]),
    # channels that are none
    ("<|channel|><|message|>4<|return|>", [("final", "4", None)]),
    ("<|message|>4<|return|>", [("final", "4", None)]),
    ("<|channel|>finalx<|message|>4<|return|>", [("final", "4", None)]),
    ("<|channel|>thoughts<|message|>4<|return|>", [("final", "4", None)]),
    # markers out of place
    (
        "<|channel|>analysis<|message|>Hm.<|channel|>final<|message|>4<|return|>",
        [("analysis", "Hm.", None), ("final", "4", None)],
    ),
    (f"<|channel|>analysis<|message|>Hm.{FINAL}4", [("analysis", "Hm.", None), ("final", "4", None)]),
    ("<|start|><|start|>assistant<|channel|>final<|message|>4<|return|>", [("final", "4", None)]),
    ("<|channel|>commentary<|channel|>analysis<|message|>Hm.", [("commentary", "Hm.", None)]),
    ("<|end|><|end|><|return|>", []),
    ("<|channel|>final<|message|>a<|message|>b<|return|>", [("final", "a<|message|>b", None)]),
]


@pytest.mark.parametrize(("text", "expected"), WELL_FORMED + MALFORMED)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_what_is_said(harmony: HarmonyChat, text: str, expected: Said, step: int) -> None:
    assert said(parse(harmony, ids_of(text), step)) == expected


@pytest.mark.parametrize(("text", "expected"), WELL_FORMED[:5])
def test_openai_harmony_reads_whole_answers_alike(harmony: HarmonyChat, text: str, expected: Said) -> None:
    from openai_harmony import Role

    messages = harmony._encoding.parse_messages_from_completion_tokens(ids_of(text), Role.ASSISTANT)
    assert [(one.channel, one.content[0].text, one.recipient) for one in messages] == expected


def test_text_comes_with_its_token(harmony: HarmonyChat) -> None:
    parser = harmony.parser()
    tokens = ids_of(f"{ANALYSIS}{FINAL}Four.<|return|>")
    streamed = [[delta.text for delta in parser.push([token])] for token in tokens]
    assert streamed == [[], [], [], ["Two"], [" and"], [" two"], ["."], [], [], [], [], [], [], ["Four"], ["."], []]
    assert parser.finish() == []


def test_text_without_a_header_does_not_wait_for_the_end(harmony: HarmonyChat) -> None:
    parser = harmony.parser()
    tokens = ids_of(LONG)
    texts = ["".join(delta.text for delta in parser.push([token])) for token in tokens]
    assert [bool(text) for text in texts] == [index >= MOST_HEADER_TOKENS for index in range(len(tokens))]


def test_characters_are_whole_where_a_header_turns_out_to_be_text(harmony: HarmonyChat) -> None:
    text = "𒀀" * 60
    for begin in range(4):
        shifted = "a" * begin + text
        assert said(parse(harmony, ids_of(shifted))) == [("final", shifted, None)]


@pytest.mark.parametrize("unknown", [LAST_ID + 1, 2**31 - 1, -1])
def test_an_id_that_is_no_token_does_not_take_the_text_after_it(harmony: HarmonyChat, unknown: int) -> None:
    tokens = [*ids_of("<|channel|>final<|message|>a"), unknown, *ids_of("b")]
    assert said(parse(harmony, tokens)) == [("final", "a\N{REPLACEMENT CHARACTER}b", None)]
    tokens = [unknown, *ids_of("<|channel|>final<|message|>a")]
    assert said(parse(harmony, tokens)) == [("final", "a", None)]


def test_bytes_that_never_become_a_character(harmony: HarmonyChat) -> None:
    half = ids_of("𒀀")[:-1]
    tokens = [*ids_of("<|channel|>final<|message|>a"), *half]
    assert said(parse(harmony, tokens)) == [("final", "a\N{REPLACEMENT CHARACTER}", None)]
    tokens += ids_of("b")
    assert re.fullmatch("a\N{REPLACEMENT CHARACTER}+b", said(parse(harmony, tokens))[0][1])


MARKERS = st.sampled_from(sorted(SPECIAL.values()))
WORDS = st.sampled_from([" zebra", " to=functions.f", "assistant", "final", "analysis", "json", "é", "\n", "𒀀"])


@settings(max_examples=300)
@given(pieces=st.lists(st.one_of(MARKERS, WORDS, st.integers(0, 201100)), max_size=40), step=st.integers(1, 7))
def test_any_answer_is_read_to_its_end(harmony: HarmonyChat, pieces: list[int | str], step: int) -> None:
    """However it comes in pieces, and whatever it is: it raises nothing and says the same."""
    tokens = [token for one in pieces for token in ([one] if isinstance(one, int) else ids_of(one))]
    whole = said(parse(harmony, tokens, 10_000))
    assert said(parse(harmony, tokens, step)) == whole
    body = [*ids_of(f"<|end|>{FINAL} quokka"), *tokens]
    assert any(text.startswith(" quokka") for _, text, _ in said(parse(harmony, body)))


@settings(max_examples=200)
@given(pieces=st.lists(st.one_of(MARKERS, st.just(" zebra")), max_size=30))
def test_no_word_is_lost(harmony: HarmonyChat, pieces: list[int | str]) -> None:
    tokens = [token for one in pieces for token in ([one] if isinstance(one, int) else ids_of(one))]
    # in a header that is whole, a lone word is a recipient or a content type
    kept = "".join(text for _, text, _ in said(parse(harmony, tokens))).count("zebra")
    in_headers = re.findall(r"((?: zebra|<\|channel\|>|<\|constrain\|>|<\|\w+text\|>)*)<\|message\|>", decoded(tokens))
    assert kept >= pieces.count(" zebra") - sum(header.count("zebra") for header in in_headers)


def decoded(tokens: list[int]) -> str:
    names = {id_: text for text, id_ in SPECIAL.items()}
    return "".join(names.get(token, " zebra") for token in tokens)


def test_the_message_that_an_answer_makes(harmony: HarmonyChat) -> None:
    call = "<|start|>assistant to=functions.add<|channel|>commentary json<|message|>{}"
    text = f"{ANALYSIS}<|start|>assistant<|channel|>commentary<|message|>I add.<|end|>{call}<|call|>"
    message = to_message(parse(harmony, ids_of(text)), calls_before=2)
    assert message.to_dict() == {
        "role": "assistant",
        "content": "I add.",
        "reasoning_content": "Two and two.",
        "tool_calls": [{"id": "call_3", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
    }
    answered = to_message(parse(harmony, ids_of(f"{ANALYSIS}{FINAL}4<|return|>")))
    assert (answered.content, answered.reasoning_content, answered.tool_calls) == ("4", "Two and two.", ())
