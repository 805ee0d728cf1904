from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.chat.templates import BLOCKS, CALL, CONVERSATIONS, HEADERS, TOOL, USER, write_tokenizer
from toolkit.chat import Chat, ChatDelta, conversation_from, open_chat
from toolkit.engine.text import Tokenizer
from toolkit.errors import ChatError, CheckpointError

DAY = {"current_date": "2026-11-24"}


def text_of(chat: Chat, folder: Path, conversation: dict[str, Any]) -> str:
    ids = chat.prompt(conversation_from(conversation, "test"))
    return Tokenizer.open(folder).decode(ids, skip_special_tokens=False)


def test_a_template_of_headers(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, HEADERS)
    chat = open_chat(folder)
    assert text_of(chat, folder, {**CONVERSATIONS[1], **DAY}) == (
        "<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: 24 Nov 2026\n\nBe brief.<|eot_id|>"
        '<|start_header_id|>user<|end_header_id|>\n\nWhat is <2 + 2> & "é"?<|eot_id|>'
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    tokenizer = Tokenizer.open(folder)
    assert chat.stop_token_ids == tuple(tokenizer.encode("<|im_end|>"))
    assert chat.prompt(conversation_from(CONVERSATIONS[0], "test"))[:2] == (
        *tokenizer.encode("<s>"),
        *tokenizer.encode("<|start_header_id|>"),
    )


def test_a_template_of_blocks(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, BLOCKS)
    assert text_of(open_chat(folder), folder, CONVERSATIONS[2]) == (
        '<|im_start|>system\n{"type": "function", "function": {"name": "add", "description": "Adds <é>.", '
        '"parameters": {"type": "object"}}}<|im_end|>\n'
        '<|im_start|>user\nWhat is <2 + 2> & "é"?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n'
        '<|im_start|>user\nWhat is <2 + 2> & "é"?<|im_end|>\n<|im_start|>assistant\n<think>\nUse add.\n</think>\n\n'
        '<tool_call>{"name": "add", "arguments": {"a": 2, "b": [2]}}<|im_end|>\n<|im_start|>tool\n4<|im_end|>\n'
        "<|im_start|>assistant\n"
    )


def test_which_template(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t{{ tools | length }}"}]
    folder = write_tokenizer(tmp_path / "named", named)
    assert text_of(open_chat(folder), folder, {"messages": [USER]}) == "d"
    assert text_of(open_chat(folder), folder, {"messages": [USER], "tools": [TOOL]}) == "t1"
    (folder / "chat_template.jinja").write_text("f")
    assert text_of(open_chat(folder), folder, {"messages": [USER]}) == "f"
    other = tmp_path / "other.jinja"
    other.write_text("o")
    assert text_of(open_chat(folder, other), folder, {"messages": [USER]}) == "o"


@pytest.mark.parametrize("arguments", ["{oops", "[" * 5000 + "]" * 5000], ids=["broken", "deep"])
def test_arguments_that_are_no_json_stay_as_they_are(tmp_path: Path, arguments: str) -> None:
    folder = write_tokenizer(tmp_path, BLOCKS)
    call = {**CALL, "function": {"name": "add", "arguments": arguments}}
    turns = [USER, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "name": "add", "content": "?"}]
    assert f'{{"name": "add", "arguments": "{arguments}"}}' in text_of(open_chat(folder), folder, {"messages": turns})


@pytest.mark.parametrize(
    ("template", "conversation", "said"),
    [
        (
            HEADERS,
            {"messages": [USER, {"role": "assistant", "tool_calls": [CALL, CALL]}, USER]},
            "This model makes one",
        ),
        ("{{ messages[9].content.x }}", {"messages": [USER]}, "the chat template refuses: "),
        ("{{ 'a' + 1 }}", {"messages": [USER]}, 'the chat template refuses: can only concatenate str (not "int")'),
        ("{{ ''.__class__.__mro__ }}", {"messages": [USER]}, "the chat template refuses: access to attribute"),
        ("{{ messages.append(1) }}", {"messages": [USER]}, "the chat template refuses: "),
        ("x", {"messages": [USER], "tools": [TOOL]}, "this chat template takes no tools"),
        ("x", {"messages": [USER], "reasoning_effort": "low"}, "this chat template takes no reasoning_effort"),
        ("x", {"messages": [USER], "knowledge_cutoff": "2024-06"}, "this chat template takes no knowledge_cutoff"),
    ],
)
def test_what_a_template_refuses(tmp_path: Path, template: str, conversation: dict[str, Any], said: str) -> None:
    chat = open_chat(write_tokenizer(tmp_path, template))
    with pytest.raises(ChatError) as error:
        chat.prompt(conversation_from(conversation, "test"))
    assert said in str(error.value)
    assert error.value.where == str(tmp_path)


@pytest.mark.parametrize(
    ("chat_template", "said"),
    [
        ("a\n{% if %}", ":2: the chat template is no Jinja: Expected an expression, got 'end of statement block'"),
        (["x"], "/tokenizer_config.json: chat_template is neither a text nor a list of name and template"),
        (3, "/tokenizer_config.json: chat_template is neither a text nor a list of name and template"),
        (None, ": this tokenizer has no chat template. Give one with --chat-template FILE, or type trtkit generate"),
    ],
)
def test_no_usable_template(tmp_path: Path, chat_template: Any, said: str) -> None:
    with pytest.raises(ChatError) as error:
        open_chat(write_tokenizer(tmp_path, chat_template))
    assert str(error.value).startswith(f"{tmp_path}{said}")


def test_a_list_without_a_default(tmp_path: Path) -> None:
    chat = open_chat(write_tokenizer(tmp_path, [{"name": "rag", "template": "x"}]))
    with pytest.raises(ChatError, match="no chat template is called default, only rag"):
        chat.prompt(conversation_from({"messages": [USER]}, "test"))


def test_no_tokenizer_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        open_chat(tmp_path)
    folder = write_tokenizer(tmp_path / "folder", "x")
    (folder / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(ChatError, match="is not UTF-8 at byte 0"):
        open_chat(folder)


def parse(chat: Chat, token_ids: list[int], step: int, prompt: tuple[int, ...] = ()) -> list[tuple[str, str]]:
    parser = chat.parser(prompt)
    pieces = [token_ids[begin : begin + step] for begin in range(0, len(token_ids), step)]
    joined: list[ChatDelta] = []
    for delta in [delta for piece in pieces for delta in parser.push(piece)] + parser.finish():
        if joined and joined[-1].index == delta.index:
            delta = ChatDelta(delta.channel, joined.pop().text + delta.text, delta.index)
        joined.append(delta)
    return [(delta.channel, delta.text) for delta in joined]


@pytest.mark.parametrize("step", [1, 4, 1000])
def test_thoughts_are_apart(tmp_path: Path, step: int) -> None:
    folder = write_tokenizer(tmp_path, BLOCKS)
    chat, tokenizer = open_chat(folder), Tokenizer.open(folder)
    answer = tokenizer.encode("<think>\nHm, é.\n</think>\n\n4<|im_end|>")
    assert parse(chat, answer, step) == [("analysis", "\nHm, é.\n"), ("final", "\n\n4")]
    assert parse(chat, tokenizer.encode("é")[:1], step) == [("final", "\N{REPLACEMENT CHARACTER}")]
    asked = conversation_from({"messages": [USER], "reasoning_effort": "high"}, "test")
    begun = parse(chat, tokenizer.encode("Hm.</think>4"), step, chat.prompt(asked))
    assert begun == [("analysis", "Hm."), ("final", "4")]


def test_a_vocabulary_without_thoughts(tmp_path: Path, root: Path) -> None:
    template = tmp_path / "t.jinja"
    template.write_text("{{ messages[0].content }}")
    folder = root / "samples/tiny-gpt-oss/nvfp4"
    chat = open_chat(folder, template)
    tokenizer = Tokenizer.open(folder)
    assert chat.prompt(conversation_from({"messages": [USER]}, "test")) == tuple(tokenizer.encode(USER["content"]))
    assert parse(chat, tokenizer.encode("<think>4</think>"), 2) == [("final", "<think>4</think>")]
