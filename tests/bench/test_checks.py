from __future__ import annotations

import pytest

from tests.bench.made_up import made_up_requests
from toolkit.bench.checks import Check, check_trial, status_of
from toolkit.bench.grid import Point

POINT = Point(isl=4, osl=3, concurrency=2, requests=4, warmup=0, repeat=1)
WHOLE = made_up_requests(POINT, ttft_ms=10, tpot_ms=5)


def failing(*changes: dict[str, object]) -> dict[str, str]:
    """Names and details of the checks that fail when the first requests are changed."""
    changed = [request.model_copy(update=change) for request, change in zip(WHOLE, changes, strict=False)]
    checks = check_trial(POINT, (*changed, *WHOLE[len(changed) :]))
    return {check.name: check.detail for check in checks if not check.passed}


def test_a_whole_trial() -> None:
    checks = check_trial(POINT, WHOLE)
    assert checks == (
        Check(name="no_errors", passed=True, detail="4 of 4 requests"),
        Check(name="request_count", passed=True, detail="4 requests, 4 planned"),
        Check(name="isl_4", passed=True, detail="4 of 4 requests"),
        Check(name="osl_3", passed=True, detail="4 of 4 requests"),
        Check(name="times_in_order", passed=True, detail="4 of 4 requests"),
    )
    assert status_of(None, checks) == "ok"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"status": "error", "error": "x"}, {"no_errors": "3 of 4 requests"}),
        ({"prompt_tokens": 5}, {"isl_4": "3 of 4 requests"}),
        ({"token_ns": WHOLE[0].token_ns[:2]}, {"osl_3": "3 of 4 requests"}),
        ({"id": 1}, {"request_count": "4 requests, 4 planned"}),
        ({"start_ns": 11 * 10**6}, {"times_in_order": "3 of 4 requests"}),
        ({"token_ns": WHOLE[0].token_ns[::-1]}, {"times_in_order": "3 of 4 requests"}),
        ({"end_ns": 19 * 10**6}, {"times_in_order": "3 of 4 requests"}),
    ],
)
def test_what_makes_a_trial_invalid(change: dict[str, object], expected: dict[str, str]) -> None:
    assert failing(change) == expected


def test_missing_requests() -> None:
    checks = check_trial(POINT, WHOLE[:3])
    assert [check for check in checks if not check.passed] == [
        Check(name="request_count", passed=False, detail="3 requests, 4 planned")
    ]
    assert status_of(None, checks) == "invalid"
    assert status_of("the server is gone", checks) == "failed"
