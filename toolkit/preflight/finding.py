"""``Finding``: the result of one check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``detail`` says what was found, ``fix`` what to do about it. ``skip``: not there, or nothing to check."""

    name: str
    status: Status
    detail: str
    fix: str | None = None

    @property
    def usable(self) -> bool:
        return self.status in ("ok", "warn")

    def to_dict(self) -> dict[str, Any]:
        """The form of ``trtkit doctor --json``."""
        return {
            "name": self.name,
            "usable": self.usable,
            "detail": self.detail,
            "status": self.status,
            "fix": self.fix,
        }


def size(count: int) -> str:
    """Bytes for people: ``64 KiB``, ``64 MiB``, ``1.5 GiB``."""
    if count < 2**20:
        return f"{count / 2**10:.0f} KiB"
    return f"{count / 2**20:,.0f} MiB" if count < 2**30 else f"{count / 2**30:,.1f} GiB"
