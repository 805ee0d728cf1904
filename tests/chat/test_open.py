from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.chat import o200k
from tests.chat.templates import write_tokenizer
from toolkit.chat import conversation_from, open_chat
from toolkit.errors import ChatError, MissingExtraError


def test_gpt_oss_speaks_harmony_from_its_own_files_alone(
    gpt_oss: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("TIKTOKEN_ENCODINGS_BASE", "TIKTOKEN_RS_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    chat = open_chat(gpt_oss)
    assert (chat.name, chat.stop_token_ids) == ("harmony", (200002, 200012))
    prompt = chat.prompt(conversation_from({"messages": [{"role": "user", "content": "hi"}]}, "test"))
    assert prompt[-1] == 173781  # "assistant"
    assert (tmp_path / "trtkit" / "harmony" / "o200k_base.tiktoken").read_bytes() == o200k.vocabulary()


def test_another_template_beats_harmony(gpt_oss: Path, tmp_path: Path) -> None:
    template = tmp_path / "t.jinja"
    template.write_text("hi")
    assert open_chat(gpt_oss, template).name == "chat template"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{{", ":1: the chat template is no Jinja: "),
        (b"{{ nope.x }}", ": the chat template refuses: 'nope' is undefined"),
        (b"\xff", ": is not UTF-8 at byte 0"),
        (None, ": cannot be read (No such file or directory)"),
    ],
)
def test_what_is_wrong_with_a_given_template_names_it(
    gpt_oss: Path, tmp_path: Path, text: bytes | None, said: str
) -> None:
    template = tmp_path / "t.jinja"
    if text is not None:
        template.write_bytes(text)
    with pytest.raises(ChatError) as caught:
        open_chat(gpt_oss, template).prompt(conversation_from({"messages": [{"role": "user", "content": "a"}]}, "test"))
    assert str(caught.value).startswith(f"{template}{said}")


def test_the_sample_has_no_chat_template(sample: Path) -> None:
    with pytest.raises(ChatError, match="this tokenizer has no chat template"):
        open_chat(sample)


@pytest.mark.parametrize("package", ["openai_harmony", "jinja2"])
def test_the_extra_is_named(gpt_oss: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    if package == "jinja2":
        monkeypatch.setitem(sys.modules, "jinja2.meta", None)
    folder = gpt_oss if package == "openai_harmony" else write_tokenizer(tmp_path, "x")
    with pytest.raises(MissingExtraError, match=r"is not installed\. Type: pip install 'trtkit\[chat\]'"):
        open_chat(folder)
