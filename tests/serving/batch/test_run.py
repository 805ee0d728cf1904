from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from toolkit.engine.runtime.protocol import TokenLogprob
from toolkit.errors import (
    BatchError,
    BusyError,
    ClientError,
    ConnectError,
    DeadlineError,
    EngineDeadError,
    StoppingError,
    TrtkitError,
    UnavailableError,
)
from toolkit.serving.batch import Defaults, Line, Progress, Summary, run_batch, scan_lines
from toolkit.serving.wire import Chunk


class Model:
    """Answers a prompt with itself in capitals; counts who is being answered at a time."""

    def __init__(self, errors: Mapping[str, TrtkitError] = {}) -> None:
        self.errors = errors
        self.asked: list[str | int] = []
        self.now = self.most = 0

    async def __call__(self, line: Line) -> AsyncGenerator[Chunk, None]:
        self.asked.append(line.id)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            # the later ones end first
            for _ in range(max(1, 20 - line.number)):
                await asyncio.sleep(0)
            prompt = str(line.prompt)
            if prompt in self.errors:
                raise self.errors[prompt]
            yield Chunk(prompt.upper(), (1,), 5)
            logprobs = (TokenLogprob(2, -0.5, ((2, -0.5),)),) if line.sampling.logprobs else ()
            yield Chunk("!", (2,), 6, "length", None, 3, 2, logprobs, 1)
        finally:
            self.now -= 1


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f'{{"prompt": "{letter}", "id": "r{letter}"}}\n' for letter in "abcdefgh"))
    return path


def run(
    source: Path, generate: Any, on_progress: Callable[[Progress], None] = lambda _: None, **options: Any
) -> Summary:
    defaults = Defaults()
    conversing = options.get("conversing")
    scan = scan_lines(source, defaults, conversing)
    output = source.with_name("out.jsonl")
    options = {"defaults": defaults, "model": {"identity": "m"}, "concurrency": 3, **options}
    return asyncio.run(run_batch(generate, source, scan, output, on_progress=on_progress, **options))


def records(source: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in source.with_name("out.jsonl").read_text().splitlines()]


def counts(summary: Summary) -> tuple[int, ...]:
    return (summary.requests, summary.ok, summary.failed, summary.before, summary.prompt_tokens, summary.output_tokens)


def test_all_are_answered_in_order_with_bounded_concurrency(source: Path) -> None:
    model, seen = Model(), []
    summary = run(source, model, seen.append)
    assert counts(summary) == (8, 8, 0, 0, 24, 16)
    assert model.most == 3
    assert [(record["line"], record["id"], record["text"]) for record in records(source)] == [
        (number, f"r{letter}", f"{letter.upper()}!") for number, letter in enumerate("abcdefgh", 1)
    ]
    assert [(progress.finished, progress.failed, progress.output_tokens) for progress in seen] == [
        (count, 0, 2 * count) for count in range(9)
    ]


def test_record(source: Path) -> None:
    source.write_text('{"prompt": "a", "logprobs": 1}\n{"prompt": "b"}')
    run(source, Model())
    first, second = records(source)
    times = {name: first.pop(name) for name in ("ttft_s", "total_s")}
    assert times.keys() == {"ttft_s", "total_s"}
    assert first == {
        "line": 1,
        "id": 1,
        "text": "A!",
        "token_ids": [1, 2],
        "prompt_tokens": 3,
        "output_tokens": 2,
        "finish_reason": "length",
        "stop_reason": None,
        "cached_tokens": 1,
        "logprobs": [{"token_id": 2, "logprob": -0.5, "top": [[2, -0.5]]}],
    }
    assert "logprobs" not in second


def test_a_line_that_fails_is_a_record_and_may_be_tried_again(source: Path) -> None:
    errors = {"b": DeadlineError("the idle deadline of 1 s passed"), "d": BusyError("the queue is full")}
    model = Model(errors)
    assert counts(run(source, model)) == (8, 6, 2, 0, 18, 12)
    assert records(source)[1] == {
        "line": 2,
        "id": "rb",
        "error": "the idle deadline of 1 s passed",
        "error_type": "DeadlineError",
    }
    again = Model()
    assert counts(run(source, again)) == (8, 6, 2, 8, 0, 0)
    assert again.asked == []
    seen: list[Progress] = []
    assert counts(run(source, again, seen.append, retry_failed=True)) == (8, 8, 0, 6, 6, 4)
    assert sorted(again.asked) == ["rb", "rd"]
    assert [(progress.finished, progress.failed) for progress in seen] == [(6, 0), (7, 0), (8, 0)]
    assert [record["text"] for record in records(source)] == [f"{letter}!" for letter in "ABCDEFGH"]


@pytest.mark.parametrize("gone", [ConnectError("nothing serves there"), EngineDeadError("the engine died")])
def test_a_model_that_is_gone_stops_the_run_and_the_next_goes_on(source: Path, gone: TrtkitError) -> None:
    model = Model({"e": gone})
    with pytest.raises(type(gone), match=gone.what):
        run(source, model)
    assert model.now == 0
    assert not source.with_name("out.jsonl").exists()
    again = Model()
    summary = run(source, again)
    assert (summary.ok, summary.failed) == (8, 0)
    assert summary.before + len(again.asked) == 8
    assert summary.before > 0


def test_while_a_server_stops_what_runs_is_let_end(source: Path) -> None:
    # c ends first, as the others of the first three take longer
    model = Model({"c": StoppingError("no available versions")})
    with pytest.raises(StoppingError, match="no available versions"):
        run(source, model)
    assert (model.now, sorted(model.asked)) == (0, ["ra", "rb", "rc"])
    again = Model()
    assert counts(run(source, again))[:4] == (8, 8, 0, 2)
    assert sorted(again.asked) == ["rc", "rd", "re", "rf", "rg", "rh"]


LATE = DeadlineError("the idle deadline of 1 s passed")


class Probe:
    """Raises what it is told to; notes how often it was asked."""

    def __init__(self, error: TrtkitError | None) -> None:
        self.error = error
        self.asked = 0

    async def __call__(self) -> None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("error", [DeadlineError("the total deadline of 30 s passed"), ConnectError("nobody")])
@pytest.mark.parametrize("concurrency", [1, 3, 8])
def test_a_model_that_only_seems_to_be_there_stops_the_run(source: Path, error: TrtkitError, concurrency: int) -> None:
    probe, model = Probe(error), Model(dict.fromkeys("abcdefgh", LATE))
    with pytest.raises(UnavailableError) as caught:
        run(source, model, probe=probe, concurrency=concurrency)
    assert caught.value.what == (
        f"4 lines in a row had no answer in time, and a request for one token has none: {error.what}"
    )
    assert caught.value.hint is not None
    assert "--retry-failed" in caught.value.hint
    assert (probe.asked, model.now) == (1, 0)
    assert counts(run(source, Model(), retry_failed=True))[:4] == (8, 8, 0, 0)


@pytest.mark.parametrize("error", [None, BusyError("the queue is full"), ClientError("takes no token ids")])
def test_a_model_that_is_only_slow_is_asked_on(source: Path, error: TrtkitError | None) -> None:
    probe = Probe(error)
    assert counts(run(source, Model(dict.fromkeys("abcdefgh", LATE)), probe=probe, concurrency=1))[:3] == (8, 0, 8)
    assert probe.asked == 2


def test_late_lines_that_are_not_in_a_row_are_no_reason_to_probe(source: Path) -> None:
    errors = {**dict.fromkeys("abcefg", LATE), "d": BusyError("the queue is full")}
    probe = Probe(ConnectError("nobody"))
    assert counts(run(source, Model(errors), probe=probe, concurrency=1))[:3] == (8, 1, 7)
    assert probe.asked == 0


def test_an_interrupt_keeps_what_is_done(source: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.finished == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(source, Model(), interrupt)
    again = Model()
    assert counts(run(source, again))[:4] == (8, 8, 0, 4)
    assert len(again.asked) == 4


def test_another_model_or_input_is_another_batch(source: Path) -> None:
    run(source, Model())
    with pytest.raises(BatchError, match="was begun with another model"):
        run(source, Model(), model={"identity": "n"})
    source.write_text('{"prompt": "a"}')
    with pytest.raises(BatchError, match="was begun with another input"):
        run(source, Model())


def test_conversations_get_their_message(source: Path) -> None:
    class Echo:
        def prompt(self, conversation: Mapping[str, Any], where: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
            return (5,), (6,)

        def message(self, prompt: tuple[int, ...], answer: tuple[int, ...]) -> dict[str, Any]:
            return {"role": "assistant", "content": f"{prompt} {answer}"}

    source.write_text('{"messages": [{"role": "user", "content": "hi"}]}\n{"prompt": "a"}')
    run(source, Model(), conversing=Echo())
    assert [record.get("message") for record in records(source)] == [
        {"role": "assistant", "content": "(5,) (1, 2)"},
        None,
    ]


def test_input_that_shrinks_under_the_run(source: Path) -> None:
    scan = scan_lines(source, Defaults())
    source.write_text('{"prompt": "a"}')
    with pytest.raises(BatchError, match=f"^{source}: was changed while it was read"):
        asyncio.run(
            run_batch(
                Model(), source, scan, source.with_name("out.jsonl"), defaults=Defaults(), model={"identity": "m"}
            )
        )


def test_input_that_grows_is_read_to_where_it_ended(source: Path) -> None:
    scan = scan_lines(source, Defaults())
    with source.open("a") as file:
        file.write('{"prompt": "z"}')
    output = source.with_name("out.jsonl")
    asyncio.run(run_batch(Model(), source, scan, output, defaults=Defaults(), model={"identity": "m"}))
    assert len(records(source)) == 8
