"""Fixtures of the telemetry tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def recorded() -> Path:
    """Readings of one H100 (driver 580.159.04) every half second: idle, 15 s of BF16 matrix products, idle.

    The products began about 2.0 s after the first reading. The monotonic clock is that of the machine.
    """
    return Path(__file__).parent / "h100_matmul.csv.gz"
