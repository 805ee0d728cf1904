"""Versions of drivers and CUDA: numbers with dots."""

from __future__ import annotations

import re
from collections.abc import Iterable

VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})*")


def numbers(version: str) -> tuple[int, ...]:
    """``580.95.05`` as (580, 95, 5); empty for what is no version."""
    return tuple(int(part) for part in version.split(".")) if VERSION.fullmatch(version) else ()


def newest(versions: Iterable[str | None]) -> str | None:
    return max((version for version in versions if version is not None), key=numbers, default=None)


def oldest(versions: Iterable[str | None]) -> str | None:
    return min((version for version in versions if version is not None), key=numbers, default=None)
