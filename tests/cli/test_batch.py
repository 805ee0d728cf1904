from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.serving.grpc_server import config, error, message, own_config, served
from toolkit.cli import batch

Run = Callable[..., Result]
MODELS = Path(__file__).parents[1] / "fakes" / "triton_models"


async def capitals(request: Any, context: Any) -> AsyncIterator[Any]:
    """The request id in capitals; one that is "bad" fails."""
    if request.id == "bad":
        yield error("the prompt is too long")
    else:
        yield message(text_output=request.id.upper(), finish_reason="length", num_output_tokens=[1])


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("TRTKIT_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def url() -> Iterator[str]:
    with served(capitals) as (address, _):
        yield address


def write(work: Path, *ids: str, **fields: Any) -> None:
    lines = [json.dumps({"id": name, "prompt": "a", **fields}) for name in ids]
    (work / "in.jsonl").write_text("\n".join(lines))


def texts(work: Path) -> list[str | None]:
    return [json.loads(line).get("text") for line in (work / "out.jsonl").read_text().splitlines()]


def test_answers_in_order(trtkit: Run, work: Path, url: str) -> None:
    write(work, "a", "b", "c")
    result = trtkit("batch", "in.jsonl", "out.jsonl", "--url", url)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "out.jsonl: 3 answered, 0 failed\n", "")
    assert texts(work) == ["A", "B", "C"]


def test_json_summary(trtkit: Run, work: Path, url: str) -> None:
    write(work, "a", "b")
    summary = json.loads(trtkit("batch", "in.jsonl", "out.jsonl", "--url", url, "--json").stdout)
    assert summary.pop("output_tokens_per_s") == 2 / summary.pop("elapsed_s")
    assert summary == {
        "output": "out.jsonl",
        "requests": 2,
        "ok": 2,
        "failed": 0,
        "before": 0,
        "prompt_tokens": 0,
        "output_tokens": 2,
    }


def test_failed_lines_make_the_exit_code_and_the_next_command(trtkit: Run, work: Path, url: str) -> None:
    write(work, "a", "bad", "c")
    result = trtkit("batch", "in.jsonl", "out.jsonl", "--url", url)
    assert (result.exit_code, result.stdout) == (1, "out.jsonl: 2 answered, 1 failed\n")
    assert result.stderr == (
        "error: out.jsonl: 1 of 3 lines failed. To ask for them again, type the same and --retry-failed\n"
    )
    assert texts(work) == ["A", None, "C"]
    again = trtkit("batch", "in.jsonl", "out.jsonl", "--url", url, "--retry-failed", "--json")
    summary = json.loads(again.stdout)
    assert (again.exit_code, summary["before"], summary["ok"], summary["failed"]) == (1, 2, 2, 1)


def test_nothing_is_sent_when_a_line_is_bad(trtkit: Run, work: Path) -> None:
    (work / "in.jsonl").write_text('{"prompt": "a"}\n{"prompt": "a", "max_token": 3}\n')
    with served(capitals) as (url, seen):
        result = trtkit("batch", "in.jsonl", "out.jsonl", "--url", url)
        assert (seen.requests, seen.configs) == ([], 0)
    assert (result.exit_code, result.stderr) == (
        1,
        "error: in.jsonl:2: unknown field 'max_token'. Did you mean 'max_tokens'?\n",
    )
    assert not (work / "out.jsonl.job").exists()


def test_what_the_model_does_not_take_is_named_with_its_line(trtkit: Run, work: Path) -> None:
    (work / "in.jsonl").write_text('{"prompt": "a"}\n{"prompt": "a", "min_p": 0.5}\n')
    with served(capitals) as (url, seen):
        seen.served = config((MODELS / "llmapi" / "tensorrt_llm" / "config.pbtxt").read_text())
        result = trtkit("batch", "in.jsonl", "out.jsonl", "--url", url)
        assert seen.requests == []
    assert (result.exit_code, result.stderr) == (
        1,
        "error: in.jsonl:2: model 'tensorrt_llm' takes no min_p. Leave it out\n",
    )


def test_another_model_is_another_batch(trtkit: Run, work: Path) -> None:
    write(work, "a")
    with served(capitals) as (url, seen):
        for identity, code in (("x", 0), ("x", 0), ("y", 1)):
            seen.served = own_config(identity=identity)
            result = trtkit("batch", "in.jsonl", "out.jsonl", "--url", url)
            assert result.exit_code == code
        assert len(seen.requests) == 1
    assert result.stderr == (
        "error: out.jsonl: was begun with another model. Name another output, or type: rm out.jsonl out.jsonl.job\n"
    )


def test_interrupted_and_resumed(trtkit: Run, work: Path) -> None:
    write(work, "a", "b", "c")

    async def stalls(request: Any, context: Any) -> AsyncIterator[Any]:
        if request.id == "c":
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        async for one in capitals(request, context):
            yield one

    with served(stalls) as (url, seen):
        result = trtkit("batch", "in.jsonl", "out.jsonl", "--url", url, "--concurrency", 1)
        assert (result.exit_code, result.stderr) == (
            130,
            "What is done is kept. Type the same command to go on\ninterrupted\n",
        )
        seen.answer = capitals
        before = len(seen.requests)
        assert trtkit("batch", "in.jsonl", "out.jsonl", "--url", url).exit_code == 0
        assert len(seen.requests) <= before + 1
    assert texts(work) == ["A", "B", "C"]


def test_a_server_that_stops_in_the_middle(trtkit: Run, work: Path) -> None:
    write(work, "a", "b", "c")

    async def stops(request: Any, context: Any) -> AsyncIterator[Any]:
        if request.id == "b":
            yield error("Request for unknown model: 'm' has no available versions")
        async for one in capitals(request, context):
            yield one

    with served(stops) as (url, seen):
        result = trtkit("batch", "in.jsonl", "out.jsonl", "--url", url, "--concurrency", 1)
        assert (result.exit_code, result.stdout, result.stderr) == (
            1,
            "",
            "What is done is kept. Type the same command to go on\n"
            "error: Request for unknown model: 'm' has no available versions. "
            "The server is stopping, or its model died: see its log\n",
        )
        seen.answer = capitals
        assert trtkit("batch", "in.jsonl", "out.jsonl", "--url", url).exit_code == 0
    assert texts(work) == ["A", "B", "C"]


def test_a_dead_model_under_a_live_server(trtkit: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "PROBE_S", 0.1)
    names = [f"r{number}" for number in range(20)]
    write(work, *names)

    async def silent(request: Any, context: Any) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield

    arguments = ("batch", "in.jsonl", "out.jsonl", "--first-token-timeout", 0.1, "--concurrency", 4, "--url")
    with served(silent) as (url, seen):
        result = trtkit(*arguments, url)
        assert (result.exit_code, result.stdout, result.stderr) == (
            1,
            "",
            "What is done is kept. Type the same command to go on\n"
            "error: 4 lines in a row had no answer in time, and a request for one token has none: "
            "the total deadline of 0.1 s passed. "
            "See the server's log; to ask for those lines again, too, type the same and --retry-failed\n",
        )
        seen.answer = capitals
        assert trtkit(*arguments, url, "--retry-failed").exit_code == 0
    assert texts(work) == [name.upper() for name in names]


def test_in_this_process(trtkit: Run, work: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = ("tiny-gpt-oss/cpu", "--set", f"engine.output={work / 'bundle'}")
    assert trtkit("engine", *place).exit_code == 0
    (work / "chat.jinja").write_text(
        "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}<|start|>assistant"
    )
    (work / "in.jsonl").write_text(
        '{"prompt": "If the file does not exist, the function", "max_tokens": 10}\n'
        '{"messages": [{"role": "user", "content": "Explain the datetime module."}], "max_tokens": 60}\n'
    )
    arguments = ("in.jsonl", "out.jsonl", "--local", *place, "--chat-template", "chat.jinja")
    result = trtkit("batch", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    first, second = (json.loads(line) for line in (work / "out.jsonl").read_text().splitlines())
    assert first["text"].startswith(" will call the method on the file.")
    assert (second["finish_reason"], second["message"]["role"]) == ("stop", "assistant")
    (work / "chat.jinja").write_text("another")
    result = trtkit("batch", *arguments)
    assert (result.exit_code, "was begun with another model" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Give exactly one of --url and --local."),
        (("--url", "h:1", "--local", "r"), "Give exactly one of --url and --local."),
        (("--url", "h:1", "--set", "a=b"), "--set goes with --local RECIPE."),
        (
            ("--local", "tiny-gpt-oss/cpu", "--header", "a=b"),
            "TLS, headers, keepalive, request ids and retries go with --url.",
        ),
        (("--url", "h:1", "--concurrency", "0"), "'--concurrency'"),
    ],
)
def test_usage(trtkit: Run, work: Path, arguments: tuple[str, ...], said: str) -> None:
    write(work, "a")
    result = trtkit("batch", "in.jsonl", "out.jsonl", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_no_such_input(trtkit: Run, work: Path) -> None:
    result = trtkit("batch", "none.jsonl", "out.jsonl", "--url", "h:1")
    assert (result.exit_code, result.stderr) == (1, "error: none.jsonl: No such file or directory\n")


def test_nothing_serves_there_leaves_nothing(trtkit: Run, work: Path) -> None:
    write(work, "a")
    result = trtkit("batch", "in.jsonl", "out.jsonl", "--url", "127.0.0.1:1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: 127.0.0.1:1: nothing serves there. Type: trtkit serve RECIPE\n"
    assert sorted(path.name for path in work.iterdir()) == ["in.jsonl"]


def test_a_killed_run_is_gone_on_with(work: Path, url: str) -> None:
    write(work, *(f"r{number}" for number in range(40)))
    code = (
        "import os, toolkit.serving.batch.journal as j\n"
        "append = j.Journal.append\n"
        "def dying(self, number, record):\n"
        "    append(self, number, record)\n"
        "    if self.recorded == 7: os.kill(os.getpid(), 9)\n"
        "j.Journal.append = dying\n"
        "from toolkit.cli import main; main()\n"
    )
    command = [sys.executable, "-c", code, "batch", "in.jsonl", "out.jsonl", "--url", url]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.run(command, env=environment, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    command[2] = "from toolkit.cli import main; main()"
    again = subprocess.run([*command, "--json"], env=environment, timeout=60, check=True, capture_output=True)
    assert json.loads(again.stdout)["before"] == 7
    assert texts(work) == [f"R{number}" for number in range(40)]
