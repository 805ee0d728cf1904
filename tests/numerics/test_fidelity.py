"""Reports add up, and their ratios hold at the edges."""

from __future__ import annotations

import pytest

from toolkit.numerics.fidelity import Report


def test_parts_add_up_to_the_whole() -> None:
    whole = Report(10, 4, 1, 3.0, 50.0) + Report(6, 0, 2, 1.0, 14.0)
    assert whole == Report(16, 4, 3, 4.0, 64.0)
    assert (whole.inexact_blocks, whole.exact_share, whole.relative_rms) == (12, 0.25, 0.25)


@pytest.mark.parametrize("report", [Report(), Report(blocks=2, exact_blocks=2)])
def test_nothing_and_zeros_are_exact(report: Report) -> None:
    assert (report.inexact_blocks, report.exact_share, report.relative_rms) == (0, 1.0, 0.0)
