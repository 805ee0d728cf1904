from __future__ import annotations

import asyncio
import time

import pytest

from tests.bench.made_up import FakeClient, refuse
from toolkit.bench.grid import Point
from toolkit.bench.load import Load, run_load
from toolkit.bench.prompts import Prompts
from toolkit.engine.runtime.protocol import SamplingParams

POINT = Point(isl=2, osl=3, concurrency=4, requests=8, warmup=4, repeat=1)
PROMPTS = Prompts(
    measured=tuple((number, 50) for number in range(8)), warmup=tuple((number, 51) for number in range(4))
)


def load(client: FakeClient, counts: list[int] | None = None) -> Load:
    return asyncio.run(run_load(client, POINT, PROMPTS, (counts if counts is not None else []).append))


def test_a_trial() -> None:
    client, counts = FakeClient(together=4), list[int]()
    result = load(client, counts)
    assert result.error is None
    assert client.prompts[:4] == list(PROMPTS.warmup)
    assert client.prompts[4:] == list(PROMPTS.measured)
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
