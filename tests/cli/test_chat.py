from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.chat import scripted
from tests.chat.o200k import ids_of, text_of, vocabulary
from tests.chat.templates import write_tokenizer
from toolkit.cli import main
from toolkit.engine.bundle import Bundle
from toolkit.serving import local

Run = Callable[..., Result]
ANSWER = "<|channel|>analysis<|message|>Easy.<|end|><|start|>assistant<|channel|>final<|message|>4 🚀<|return|>"
CALL = '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 2}<|call|>'
TOOLS = [{"type": "function", "function": {"name": "add", "description": "Adds."}}]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return scripted.write_bundle(tmp_path_factory.mktemp("chat") / "bundle", [ids_of(ANSWER), ids_of(CALL)])


@pytest.fixture(scope="module")
def vocabulary_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocabulary")
    (folder / "o200k_base.tiktoken").write_bytes(vocabulary())
    return folder


@pytest.fixture
def engine(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> scripted.ScriptedEngine:
    engine = scripted.open_engine(bundle)
    monkeypatch.setattr(local, "open_engine", lambda opened: engine)
    return engine


@pytest.fixture
def chat(
    bundle: Bundle, engine: scripted.ScriptedEngine, vocabulary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """``trtkit chat RECIPE ...`` with the scripted engine; ``input`` is stdin."""

    monkeypatch.setenv("TIKTOKEN_ENCODINGS_BASE", str(vocabulary_folder))

    def run(*argv: Any, input: bytes | None = None) -> Result:
        words = ["chat", str(bundle.folder / "recipe.yaml"), *map(str, argv)]
        return CliRunner().invoke(main, words, input=input, prog_name="trtkit")

    return run


def test_one_message(chat: Run, engine: scripted.ScriptedEngine) -> None:
    result = chat("--message", "2 + 2?", "--system", "Be brief.", "--developer", "Rhyme.", "--effort", "low")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "4 🚀\n", "")
    prompt = text_of(engine.prompts[0])
    for part in ("Reasoning: low", "# Instructions\n\nBe brief.\n\nRhyme.", "<|start|>user<|message|>2 + 2?<|end|>"):
        assert part in prompt
    assert "Current date: 20" in prompt


def test_thoughts_on_stderr(chat: Run) -> None:
    result = chat("--message", "2 + 2?", "--show-analysis")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "4 🚀\n", "Easy.\n")


def test_json_of_a_conversation_with_a_call(chat: Run, engine: scripted.ScriptedEngine) -> None:
    assert chat("--message", "first").exit_code == 0
    question = {"messages": [{"role": "user", "content": "2 + 2?"}], "tools": TOOLS, "current_date": "2026-11-24"}
    result = chat("--json", "--max-tokens", 50, input=json.dumps(question).encode())
    document = json.loads(result.stdout)
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    assert document.pop("ttft_s") <= document.pop("total_s")
    assert document == {
        "message": {"role": "assistant", "content": "", "tool_calls": [call]},
        "finish_reason": "stop",
        "prompt_tokens": len(engine.prompts[1]),
        "output_tokens": len(ids_of(CALL)),
    }
    prompt = text_of(engine.prompts[1])
    assert "// Adds.\ntype add = () => any;" in prompt
    assert "Current date: 2026-11-24" in prompt


def test_a_call_in_plain(chat: Run, tmp_path: Path) -> None:
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps(TOOLS))
    assert chat("--message", "first").exit_code == 0
    result = chat("--message", "2 + 2?", "--tools", tools)
    assert (result.exit_code, result.stdout) == (0, '{"tool": "add", "id": "call_1", "arguments": {"a": 2}}\n')


def test_an_answer_cut_by_its_length(chat: Run) -> None:
    result = chat("--message", "2 + 2?", "--max-tokens", 4, "--json")
    document = json.loads(result.stdout)
    assert (document["finish_reason"], document["output_tokens"]) == ("length", 4)
    assert document["message"] == {"role": "assistant", "content": "", "reasoning_content": "Easy"}


def test_old_turns_are_forgotten_aloud(chat: Run, engine: scripted.ScriptedEngine) -> None:
    turns = [{"role": role, "content": f"{role} " * 40} for role in ("user", "assistant", "user")]
    result = chat("--context", 200, "--max-tokens", 60, input=json.dumps(turns).encode())
    assert (result.exit_code, result.stdout) == (0, "4 🚀\n")
    assert result.stderr == "the oldest turn is forgotten: the context of 200 tokens is full\n"
    assert text_of(engine.prompts[0]).count("<|start|>user") == 1


@pytest.mark.parametrize(
    ("argv", "stdin", "code", "said"),
    [
        (("--message", "x " * 3000), b"", 1, "error: the last turn takes 3068 tokens, and an answer shall have 1024"),
        ((), b"[{}]", 1, "error: stdin: messages[0]: no content\n"),
        ((), b"", 1, "error: stdin: no messages. "),
        (("--message", "hi", "--tools", "nowhere.json"), b"", 1, "error: nowhere.json: cannot be read"),
        (("--message", "hi", "--chat-template", "nowhere.jinja"), b"", 1, "error: nowhere.jinja: cannot be read"),
        (("--message", "hi", "--tokenizer", "x"), b"", 2, "--tokenizer goes with --url alone"),
        (("--message", "\udcff"), b"", 2, "--message is not UTF-8 at character 0."),
        (("--message", "hi", "--header", "a=b"), b"", 2, "TLS, headers and keepalive go with --url."),
        (("--message", "hi", "--effort", "most"), b"", 2, "'most' is not one of"),
    ],
)
def test_mistakes_are_one_line(chat: Run, argv: tuple[str, ...], stdin: bytes, code: int, said: str) -> None:
    result = chat(*argv, input=stdin)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
    assert code == 2 or result.stderr.count("\n") == 1


def test_where_to_talk(trtkit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRTKIT_URL", raising=False)
    folder = write_tokenizer(tmp_path / "folder", "{{ messages[0].content }}")
    usage = trtkit("chat", "--message", "hi", "--tokenizer", folder)
    assert usage.exit_code == 2
    assert "Give RECIPE, or --url with --tokenizer DIR." in usage.stderr
    assert "--set goes with RECIPE." in trtkit("chat", "--set", "a=b", "--url", "x").stderr
    monkeypatch.setenv("TRTKIT_URL", "127.0.0.1:1")
    nobody = trtkit("chat", "--message", "hi", "--tokenizer", folder)
    assert (nobody.exit_code, nobody.stdout) == (1, "")
    assert nobody.stderr.startswith("error: 127.0.0.1:1: nothing serves there")


def test_a_model_without_a_template_says_so(trtkit: Run, sample: Path) -> None:
    result = trtkit("chat", "--message", "hi", "--url", "127.0.0.1:1", "--tokenizer", sample)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"error: {sample}: this tokenizer has no chat template. "
        "Give one with --chat-template FILE, or type trtkit generate to continue a text\n"
    )
