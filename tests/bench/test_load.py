from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

import pytest

from tests.bench.made_up import FakeClient, refuse
from tests.virtual_time import VirtualLoop, run
from toolkit.bench.load import Load, run_load
from toolkit.bench.request import RequestRecord
from toolkit.bench.workload import Arrival, ClosedLoop, OpenLoop, Replay, RequestSpec
from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.errors import RecipeError
from toolkit.serving.client import Chunk, Deadlines

MEASURED = tuple(RequestSpec(number, (number, 50), 3) for number in range(8))
WARMUP = tuple(RequestSpec(number, (number, 51), 3) for number in range(4))
MS = 1_000_000


def load(client: FakeClient, counts: list[int] | None = None, arrival: Arrival = ClosedLoop(4)) -> Load:  # noqa: B008
    on_request = (counts if counts is not None else []).append
    return asyncio.run(run_load(client, MEASURED, WARMUP, arrival, on_request))


class ScriptedServer:
    """Answers in virtual time: first token ``prefill_s`` after it is asked, the others ``step_s`` apart.

    It stands still from ``stall`` on until its end: what falls into that time comes at its end. ``blocks`` are requests
    whose sending keeps the generator's own thread busy for so many seconds.
    """

    def __init__(
        self, *, prefill_s: float = 0.01, step_s: float = 0.0, stall: tuple[float, float] = (0, 0), **blocks: float
    ) -> None:
        self.in_flight = self.most_in_flight = 0
        self.sent_s: list[float] = []
        self._prefill_s, self._step_s, self._stall, self._blocks = prefill_s, step_s, stall, blocks

    async def probe(self) -> None: ...

    async def parameters(self) -> dict[str, str]:
        return {}

    async def generate(
        self, prompt: Sequence[int], *, sampling: SamplingParams, deadlines: Deadlines
    ) -> AsyncGenerator[Chunk, None]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.sent_s.append(round(loop.time(), 6))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        loop.advance(self._blocks.get(f"at_{prompt[0]}", 0.0))
        for step in range(sampling.max_tokens):
            await self._work(loop, self._step_s if step else self._prefill_s)
            last = step + 1 == sampling.max_tokens
            self.in_flight -= last
            yield Chunk("", (step,), round(loop.time() * 1e9), finish_reason="length" if last else None)

    async def _work(self, loop: VirtualLoop, seconds: float) -> None:
        now, (begin, end) = loop.time(), self._stall
        ready = now + seconds
        if now < end and ready > begin:
            ready = end + seconds - max(0.0, begin - now)
        await asyncio.sleep(ready - now)


def numbered(count: int, output_tokens: int = 1) -> tuple[RequestSpec, ...]:
    return tuple(RequestSpec(number, (number,), output_tokens) for number in range(count))


def latencies_ms(requests: Sequence[RequestRecord]) -> list[float]:
    """By request id."""
    return [round(request.latency_ns / MS, 3) for request in sorted(requests, key=lambda request: request.id)]


def test_a_trial() -> None:
    client, counts = FakeClient(together=4), list[int]()
    result = load(client, counts)
    assert result.error is None
    assert client.prompts[:4] == [spec.prompt_ids for spec in WARMUP]
    assert client.prompts[4:] == [spec.prompt_ids for spec in MEASURED]
    assert set(client.sampling) == {SamplingParams(max_tokens=3, min_tokens=3, ignore_eos=True)}
    assert counts == list(range(1, 9))
    assert sorted(request.id for request in result.requests) == list(range(8))
    for request in result.requests:
        assert (request.status, request.prompt_tokens, request.output_tokens) == ("ok", 2, 3)
        assert request.start_ns <= request.token_ns[0] <= request.token_ns[-1] == request.end_ns
    assert min(request.start_ns for request in result.requests) == 0


def test_the_concurrency_is_held_and_not_passed() -> None:
    client = FakeClient(together=4)  # none is answered before four are in flight
    load(client)
    assert client.most_in_flight == 4
    assert client.closed == 12


def test_the_clock_starts_before_the_client_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    client, real, generate = FakeClient(), time.monotonic_ns, FakeClient.generate

    def clock() -> int:
        calls.append("clock")
        return real()

    def traced(self: FakeClient, *args: object, **options: object) -> object:
        calls.append("generate")
        return generate(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(time, "monotonic_ns", clock)
    monkeypatch.setattr(FakeClient, "generate", traced)
    load(client)
    starts = [number for number, call in enumerate(calls) if call == "generate"]
    assert len(starts) == 12
    assert [calls[number - 1] for number in starts] == ["clock"] * 12


def test_an_error_ends_the_trial() -> None:
    def fail(number: int) -> None:
        if number >= 6:  # after four of warm-up
            refuse(number)

    client = FakeClient(fail=fail)
    result = load(client)
    assert result.error == "generation 6 went wrong"
    assert len(client.prompts) < 12
    assert client.in_flight == 0
    failed = [request for request in result.requests if request.status == "error"]
    assert failed[0].error == "generation 6 went wrong"
    assert all(request.token_ns == () and request.end_ns >= request.start_ns for request in failed)


def test_an_error_of_the_warmup() -> None:
    result = load(FakeClient(fail=refuse))
    assert result == Load((), "warm-up: generation 0 went wrong")


def test_an_unexpected_exception_is_not_swallowed() -> None:
    def fail(number: int) -> None:
        raise ZeroDivisionError

    client = FakeClient(fail=fail)
    with pytest.raises(ExceptionGroup) as caught:
        load(client)
    assert caught.group_contains(ZeroDivisionError)
    assert client.in_flight == 0


def test_each_request_has_its_own_output_length() -> None:
    client = FakeClient()
    specs = tuple(RequestSpec(number, (number,), 1 + number % 3) for number in range(6))
    result = asyncio.run(run_load(client, specs, (), ClosedLoop(2), lambda count: None))
    assert {request.id: request.output_tokens for request in result.requests} == {0: 1, 1: 2, 2: 3, 3: 1, 4: 2, 5: 3}
    assert {(sampling.min_tokens, sampling.ignore_eos) for sampling in client.sampling} == {
        (1, True),
        (2, True),
        (3, True),
    }


def test_nothing_to_send() -> None:
    assert asyncio.run(run_load(FakeClient(), (), (), ClosedLoop(4), lambda count: None)) == Load((), None)


def test_requests_of_an_open_loop_are_sent_at_their_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes 1 s, one is due every 0.1 s: ten are in flight, and nobody waits."""
    server = ScriptedServer(prefill_s=0.4, step_s=0.3)
    work = run_load(server, numbered(30, 3), (), OpenLoop(10.0, "constant", 0), lambda count: None)
    result = run(work, monkeypatch)
    assert server.sent_s == [round(number / 10, 6) for number in range(30)]
    assert server.most_in_flight == 10
    assert result.error is None
    assert [request.id for request in result.requests] == list(range(30))
    for request in result.requests:
        assert request.start_ns == pytest.approx(request.id * 100 * MS, abs=5)
        assert request.token_ns == pytest.approx([request.start_ns + ms * MS for ms in (400, 700, 1000)], abs=5)
        assert request.late_ns <= 5


def test_a_replay_is_sent_at_the_times_of_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ScriptedServer()
    specs = tuple(RequestSpec(n, (n,), 1, arrival) for n, arrival in enumerate((1.0, 1.0, 1.5, 4.0)))
    result = run(run_load(server, specs, (), Replay(), lambda count: None), monkeypatch)
    assert server.sent_s == [0.0, 0.0, 0.5, 3.0]
    assert latencies_ms(result.requests) == [10.0] * 4


def test_a_replay_without_times_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ScriptedServer()
    with pytest.raises(RecipeError, match="no arrival times"):
        run(run_load(server, numbered(2), (), Replay(), lambda count: None), monkeypatch)
    assert server.sent_s == []


def test_a_closed_loop_hides_a_stall_and_an_open_loop_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coordinated omission: a server of 10 ms stands still from 2 s to 7 s of ten seconds.

    To users who arrive ten times a second half of the requests are slow, each by what is left of the stall; a closed
    loop stops asking, so that one of its requests is.
    """
    stalled, users = (2.0, 7.0), OpenLoop(10.0, "constant", 0)
    open_loop = run(run_load(ScriptedServer(stall=stalled), numbered(100), (), users, lambda count: None), monkeypatch)
    due_s = [number / 10 for number in range(100)]
    waited_ms = [1000 * (7.0 - due) if 2.0 <= due < 7.0 else 0.0 for due in due_s]
    assert latencies_ms(open_loop.requests) == pytest.approx([10.0 + waited for waited in waited_ms], abs=1e-3)
    assert sum(latency > 100 for latency in latencies_ms(open_loop.requests)) == 50
    assert max(request.late_ns for request in open_loop.requests) <= 5

    closed = run(
        run_load(ScriptedServer(stall=stalled), numbered(500), (), ClosedLoop(1), lambda count: None), monkeypatch
    )
    slow = [latency for latency in latencies_ms(closed.requests) if latency > 11]
    assert len(slow) == 1
    assert slow[0] == pytest.approx(5010, abs=10)


def test_a_generator_that_is_late_says_so_and_its_requests_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Request 2 keeps it busy for 350 ms: 3, 4 and 5 go out late, and their clock ran since they were due."""
    server = ScriptedServer(at_2=0.35)
    work = run_load(server, numbered(8), (), OpenLoop(10.0, "constant", 0), lambda count: None)
    result = run(work, monkeypatch)
    late_ms = [round(r.late_ns / MS, 3) for r in sorted(result.requests, key=lambda r: r.id)]
    assert late_ms == [0, 0, 0, 250, 150, 50, 0, 0]
    assert latencies_ms(result.requests) == [10, 10, 360, 260, 160, 60, 10, 10]
    assert server.sent_s == [0.0, 0.1, 0.2, 0.55, 0.55, 0.55, 0.6, 0.7]


def test_warmup_of_an_open_loop_is_a_closed_one_of_half_its_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ScriptedServer(prefill_s=1.0)
    work = run_load(server, numbered(1), numbered(5), OpenLoop(10.0, "poisson", 0), lambda count: None)
    result = run(work, monkeypatch)
    assert server.sent_s == [0.0, 0.0, 0.0, 1.0, 1.0, 2.0]
    assert [(request.start_ns, request.end_ns) for request in result.requests] == [(0, 1000 * MS)]


def test_an_error_ends_an_open_loop_before_the_next_request_is_due() -> None:
    """At one request in 11 days: a generator that slept until then would hang here."""

    def fail(number: int) -> None:
        if number == 4:
            refuse(number)

    client = FakeClient(fail=fail)
    result = load(client, arrival=OpenLoop(1e-6, "constant", 0))
    assert result.error == "generation 4 went wrong"
    assert [(request.id, request.status) for request in result.requests] == [(0, "error")]
    assert len(client.prompts) == 5


def test_an_unexpected_exception_ends_an_open_loop() -> None:
    def fail(number: int) -> None:
        if number >= 4:
            raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        load(FakeClient(fail=fail), arrival=OpenLoop(1e-6, "constant", 0))
    assert caught.group_contains(ZeroDivisionError)
