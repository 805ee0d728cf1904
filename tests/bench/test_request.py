from __future__ import annotations

import pytest
from pydantic import ValidationError

from toolkit.bench.request import RequestRecord

FIELDS = {"id": 0, "prompt_tokens": 4, "start_ns": 100, "token_ns": (150, 170, 200), "end_ns": 210, "status": "ok"}


def test_derived_times() -> None:
    request = RequestRecord(**FIELDS)
    assert request.output_tokens == 3
    assert request.latency_ns == 110
    assert request.ttft_ns == 50
    assert request.tpot_ns == (210 - 150) / 2
    assert request.itl_ns == (20, 30)


def test_one_token_has_no_tpot() -> None:
    request = RequestRecord(**FIELDS | {"token_ns": (150,)})
    assert request.ttft_ns == 50
    assert request.tpot_ns is None
    assert request.itl_ns == ()


def test_no_token_has_no_ttft() -> None:
    request = RequestRecord(**FIELDS | {"token_ns": (), "status": "error", "error": "gone"})
    assert request.ttft_ns is None
    assert request.tpot_ns is None


@pytest.mark.parametrize("change", [{"status": "late"}, {"extra": 1}, {"start_ns": "100"}, {"token_ns": (1.5,)}])
def test_schema_is_strict(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RequestRecord(**FIELDS | change)
