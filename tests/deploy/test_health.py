from __future__ import annotations

import pytest

from toolkit.deploy import health
from toolkit.errors import ClientError, DeadlineError, TrtkitError, UnavailableError

URL, METRICS = "127.0.0.1:8001", "http://127.0.0.1:8002/metrics"
LATE = DeadlineError("Deadline Exceeded", where=URL)
FULL = UnavailableError("the queue is full: 256 requests wait")
DEAD = ClientError("Stub process 'tensorrt_llm_0_0' is not healthy.")


def look(monkeypatch: pytest.MonkeyPatch, error: TrtkitError | None, counts: list[int | None]) -> str:
    """``check`` with a probe that ends with ``error``, and a figure that is the next of ``counts`` at each look."""

    def probe(url: str, model: str, *, timeout_s: float) -> None:
        assert (url, model, timeout_s) == (URL, "gpt", 5)
        if error is not None:
            raise error

    seen = iter(counts)
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(health, "probe", probe)
    monkeypatch.setattr(health, "progress", lambda url: [] if (count := next(seen)) is None else [f"tokens {count}"])
    monkeypatch.setattr(health.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(health.time, "sleep", lambda seconds: None)
    return health.check(URL, "gpt", timeout_s=5, metrics_url=METRICS)


def test_a_token_is_health(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(monkeypatch, None, [None]) == "healthy: one token in 2.000 s"


@pytest.mark.parametrize(("error", "counts"), [(LATE, [7, 9]), (FULL, [7, 7, 8])])
def test_busy_is_health_while_others_get_tokens(
    monkeypatch: pytest.MonkeyPatch, error: ClientError, counts: list[int | None]
) -> None:
    assert look(monkeypatch, error, counts) == f"healthy: busy with other requests ({error.what})"


@pytest.mark.parametrize(
    ("error", "counts", "expected"),
    [
        (LATE, [7, 7, 7, 7], "127.0.0.1:8001: unhealthy: Deadline Exceeded"),
        (FULL, [7, 7, 7, 7], "unhealthy: the queue is full: 256 requests wait"),
        (FULL, [None], "unhealthy: the queue is full: 256 requests wait"),
        (LATE, [7, None], "127.0.0.1:8001: unhealthy: Deadline Exceeded"),
        (DEAD, [7, 9], "Stub process 'tensorrt_llm_0_0' is not healthy."),
    ],
)
def test_what_is_not(
    monkeypatch: pytest.MonkeyPatch, error: ClientError, counts: list[int | None], expected: str
) -> None:
    with pytest.raises(type(error)) as caught:
        look(monkeypatch, error, counts)
    assert str(caught.value) == expected


def test_only_what_a_running_model_moves_is_progress() -> None:
    moving = [
        'trtkit_tokens_total{kind="generated",model="gpt"} 41',
        'trtkit_time_to_first_token_seconds_count{model="gpt"} 1',
        'trtkit_kv_use_ratio{model="gpt"} 0.25',
        'trtkit_runtime_iter{model="gpt"} 900',
    ]
    others = [
        'trtkit_tokens_total{kind="prompt",model="gpt"} 1000',
        'trtkit_requests_total{model="gpt",outcome="cancelled"} 9',
        'trtkit_waiting_requests{model="gpt"} 3',
        'trtkit_time_to_first_token_seconds_bucket{model="gpt",le="1"} 500',
        'trtkit_runtime_iter_latency_ms{model="gpt"} 12',
    ]
    assert health.PROGRESS.findall("\n".join([*others, *moving, ""])) == moving


def test_no_metrics_where_nothing_answers() -> None:
    assert health.progress("http://127.0.0.1:1/metrics") == []
