from __future__ import annotations

import pytest

from toolkit.bench.checks import Check
from toolkit.bench.load_checks import check_lengths, check_on_time
from toolkit.bench.request import RequestRecord
from toolkit.bench.workload import RequestSpec

MS = 1_000_000
SPECS = (RequestSpec(0, (1, 2, 3), 2), RequestSpec(1, (4,), 3))


def record(number: int = 0, prompt: int = 3, output: int = 2, late_ns: int = 0, ttft_ms: int = 10) -> RequestRecord:
    token_ns = tuple((ttft_ms + step) * MS for step in range(output))
    end_ns = token_ns[-1] if token_ns else ttft_ms * MS
    return RequestRecord(
        id=number, prompt_tokens=prompt, start_ns=0, token_ns=token_ns, end_ns=end_ns, status="ok", late_ns=late_ns
    )


def test_lengths_as_asked_for_whatever_the_order() -> None:
    requests = (record(1, 1, 3), record(0, 3, 2))
    assert check_lengths(SPECS, requests) == (
        Check(name="input_lengths", passed=True, detail="2 of 2 requests"),
        Check(name="output_lengths", passed=True, detail="2 of 2 requests"),
    )


def test_lengths_that_were_not_asked_for() -> None:
    """Exchanged they have the right sums: each request counts."""
    assert check_lengths(SPECS, (record(0, 1, 3), record(1, 3, 2))) == (
        Check(
            name="input_lengths",
            passed=False,
            detail="0 of 2 requests; request 0: 1 tokens, 3 asked for",
        ),
        Check(
            name="output_lengths",
            passed=False,
            detail="0 of 2 requests; request 0: 3 tokens, 2 asked for",
        ),
    )
    _, outputs = check_lengths(SPECS, (record(0), record(1, 1, 2)))
    assert outputs.detail == "1 of 2 requests; request 1: 2 tokens, 3 asked for"


def test_a_request_that_nobody_asked_for() -> None:
    inputs, _ = check_lengths(SPECS, (record(7),))
    assert inputs == Check(name="input_lengths", passed=False, detail="0 of 1 requests")


@pytest.mark.parametrize(
    ("late_ms", "ttft_ms", "passed"),
    [(0, 10, True), (5, 10, True), (6, 10, False), (50, 1000, True), (51, 1000, False)],
)
def test_the_generator_was_on_time(late_ms: int, ttft_ms: int, passed: bool) -> None:
    requests = [record(number, ttft_ms=ttft_ms) for number in range(199)]
    one = check_on_time([*requests, record(199, late_ns=late_ms * MS, ttft_ms=ttft_ms)])
    assert one.passed  # one in 200 is beyond p99
    two = check_on_time([*requests, *[record(200 + n, late_ns=late_ms * MS, ttft_ms=ttft_ms) for n in range(3)]])
    limit = max(5, ttft_ms // 20)
    detail = f"p99 {late_ms} ms after they were due, at most {limit} ms"
    assert two == Check(name="sent_on_time", passed=passed, detail=detail)


def test_nothing_was_sent() -> None:
    assert check_on_time([]).passed
    assert not check_on_time([record(output=0, late_ns=6 * MS)]).passed
