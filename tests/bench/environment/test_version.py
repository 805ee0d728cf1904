from __future__ import annotations

import pytest

from toolkit.bench.environment.version import newest, numbers, oldest


@pytest.mark.parametrize(
    ("version", "found"),
    [("580.95.05", (580, 95, 5)), ("13", (13,)), ("", ()), ("13.", ()), ("[N/A]", ()), ("²", ()), ("1" * 5000, ())],
)
def test_numbers(version: str, found: tuple[int, ...]) -> None:
    assert numbers(version) == found


def test_the_newest_and_the_oldest_are_no_matter_of_text() -> None:
    versions = ["575.57.08", None, "1000", "580.95.05"]
    assert (newest(versions), oldest(versions)) == ("1000", "575.57.08")
    assert (newest([None]), oldest([])) == (None, None)
