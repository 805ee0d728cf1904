"""A finding: one thing that an inspection has to say about a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Finding:
    """``id`` is stable; ``where`` is a file or a tensor of the checkpoint; ``repair`` is what to do about it.

    ``error``: it does not load, or it runs and answers wrongly. ``warning``: some readers stop at it, or accuracy
    suffers. ``info``: worth knowing, harmless as it stands.
    """

    id: str
    severity: Severity
    where: str
    detail: str
    repair: str


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors, then warnings, then the rest; in the given order within each."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))
