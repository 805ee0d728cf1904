"""A conversation end to end: prompt ids → client → the real Triton → a scripted engine → parser → channels."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chat import scripted
from tests.chat.o200k import ids_of, vocabulary
from toolkit.engine.bundle import Bundle
from toolkit.serving.repository import render
from toolkit.serving.server import Server

pytestmark = [pytest.mark.triton, pytest.mark.usefixtures("real_triton")]

FINAL = "<|start|>assistant<|channel|>final<|message|>"
SCRIPT = [
    f"<|channel|>analysis<|message|>They greet.<|end|>{FINAL}Hello 👩‍🚀!<|return|>",
    '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 2}<|call|>',
    f"{FINAL}It is 4.<|return|>",
    f"<|channel|>analysis<|message|>Endless.<|end|>{FINAL}on and on",  # its last token again and again
    f"{FINAL}Bye.<|return|>",
]
TOOLS = '[{"type": "function", "function": {"name": "add", "description": "Adds."}}]'
WITHIN_S = 60


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return scripted.write_bundle(tmp_path_factory.mktemp("chat") / "bundle", [ids_of(text) for text in SCRIPT])


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[Server]:
    repository = render(bundle, bundle.folder.parent / "repository", engine_factory=scripted.FACTORY)
    with Server.start(repository) as started:
        yield started


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True, close_fds=True
        )
        os.close(slave)
        self.shown = ""

    def expect(self, pattern: str) -> str:
        """Wait until this was shown; what was shown up to its end, which is then forgotten."""
        deadline = time.monotonic() + WITHIN_S
        while (found := re.search(pattern, self.shown)) is None:
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} never came after: {self.shown!r}"
            assert select.select([self._master], [], [], left)[0], f"{pattern!r} never came after: {self.shown!r}"
            self.shown += os.read(self._master, 1 << 16).decode(errors="replace")
        before, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return before

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal(server: Server, bundle: Bundle, root: Path, tmp_path: Path) -> Iterator[Terminal]:
    base = tmp_path / "vocabulary"
    base.mkdir()
    (base / "o200k_base.tiktoken").write_bytes(vocabulary())
    tools = tmp_path / "tools.json"
    tools.write_text(TOOLS)
    program = "from toolkit.cli import main; main(prog_name='trtkit')"
    argv = [sys.executable, "-c", program, "chat", "--url", server.grpc_url, "--tokenizer", str(bundle.tokenizer_dir)]
    env = {**os.environ, "TIKTOKEN_ENCODINGS_BASE": str(base), "PYTHONPATH": str(root), "TERM": "dumb"}
    opened = Terminal([*argv, "--tools", str(tools), "--max-tokens", "200000"], env)
    yield opened
    opened.close()


def cancelled(server: Server) -> float:
    with urllib.request.urlopen(server.metrics_url, timeout=10) as reply:
        text = reply.read().decode()
    lines = [line for line in text.splitlines() if line.startswith("trtkit_") and 'cancelled"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_a_conversation_in_the_terminal(server: Server, terminal: Terminal) -> None:
    terminal.expect("harmony; /help lists commands.*\n> ")
    terminal.type("hi\n")
    said = terminal.expect(r"\n> ")
    assert re.search(r"They greet\.\r?\nHello 👩‍🚀!\r?\n.*TTFT .* tokens · stop", said)
    terminal.type('"""What is\n2 + 2?"""\n')
    assert '{"tool": "add", "id": "call_1", "arguments": {"a": 2}}' in terminal.expect(r"\n> ")
    terminal.type("/result 4\n")
    assert "It is 4." in terminal.expect(r"\n> ")
    terminal.type("talk\n")
    terminal.expect("on and on on on")
    os.killpg(terminal.process.pid, signal.SIGINT)
    assert "tokens · stopped" in terminal.expect(r"\n> ")
    deadline = time.monotonic() + 20
    while cancelled(server) == 0:  # a cancel has no answer that could be waited for
        assert time.monotonic() < deadline, "the server was not told"
        time.sleep(0.05)
    terminal.type("/reset\n")
    terminal.expect(r"forgotten\r?\n> ")
    terminal.type("bye\n")
    assert "Bye." in terminal.expect(r"\n> ")
    terminal.type("\x04")
    assert terminal.process.wait(WITHIN_S) == 0
