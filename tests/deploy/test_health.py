from __future__ import annotations

from collections.abc import Iterator

import pytest

from toolkit.deploy import health
from toolkit.errors import ClientError, DeadlineError, TrtkitError, UnavailableError

URL, METRICS = "127.0.0.1:8001", "http://127.0.0.1:8002/metrics"
LATE = DeadlineError("Deadline Exceeded", where=URL)
FULL = UnavailableError("the queue is full: 256 requests wait")
DEAD = ClientError("Stub process 'tensorrt_llm_0_0' is not healthy.")


def look(monkeypatch: pytest.MonkeyPatch, error: TrtkitError | None, counts: list[float | None]) -> str:
    """``check`` with a probe that ends with ``error``, and counters that are ``counts`` at each look."""

    def probe(url: str, model: str, *, timeout_s: float) -> None:
        assert (url, model, timeout_s) == (URL, "gpt", 5.0)
        if error is not None:
            raise error

    seen: Iterator[float | None] = iter(counts)
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(health, "probe", probe)
    monkeypatch.setattr(health, "generated", lambda url: next(seen))
    monkeypatch.setattr(health.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(health.time, "sleep", lambda seconds: None)
    return health.check(URL, "gpt", timeout_s=5.0, metrics_url=METRICS)


def test_a_token_is_health(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(monkeypatch, None, [None]) == "healthy: one token in 2.000 s"


@pytest.mark.parametrize(("error", "counts"), [(LATE, [7.0, 9.0]), (FULL, [7.0, 7.0, 8.0])])
def test_busy_is_health_while_others_get_tokens(
    monkeypatch: pytest.MonkeyPatch, error: ClientError, counts: list[float | None]
) -> None:
    assert look(monkeypatch, error, counts) == f"healthy: busy with other requests ({error.what})"


@pytest.mark.parametrize(
    ("error", "counts", "expected"),
    [
        (LATE, [7.0, 7.0, 7.0, 7.0], "127.0.0.1:8001: unhealthy: Deadline Exceeded"),
        (FULL, [7.0, 7.0, 7.0, 7.0], "unhealthy: the queue is full: 256 requests wait"),
        (FULL, [None], "unhealthy: the queue is full: 256 requests wait"),
        (LATE, [7.0, None], "127.0.0.1:8001: unhealthy: Deadline Exceeded"),
        (DEAD, [7.0, 9.0], "Stub process 'tensorrt_llm_0_0' is not healthy."),
    ],
)
def test_what_is_not(
    monkeypatch: pytest.MonkeyPatch, error: ClientError, counts: list[float | None], expected: str
) -> None:
    with pytest.raises(type(error)) as caught:
        look(monkeypatch, error, counts)
    assert str(caught.value) == expected


def test_only_generated_tokens_are_progress() -> None:
    text = (
        'trtkit_tokens_total{kind="generated",model="gpt"} 41\n'
        'trtkit_tokens_total{kind="prompt",model="gpt"} 1000\n'
        'trtkit_requests_total{model="gpt",outcome="cancelled"} 9\n'
        'trtkit_time_to_first_token_seconds_count{model="gpt"} 1\n'
        'trtkit_time_to_first_token_seconds_bucket{model="gpt",le="1"} 500\n'
    )
    assert health.PROGRESS.findall(text) == ["41", "1"]


def test_no_metrics_where_nothing_answers() -> None:
    assert health.generated("http://127.0.0.1:1/metrics") is None
