"""The record of one trial: schema 2, and schema 1 read as if it were."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from toolkit.bench.checks import WARNINGS, Check, Status
from toolkit.bench.grid import Point
from toolkit.bench.metrics import Metrics
from toolkit.bench.telemetry import TelemetrySummary
from toolkit.recipe import RunnerKind

REQUESTS_FILE = "requests.jsonl.gz"


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServedBy(Record):
    """The server that was measured through."""

    url: str
    started_by_bench: bool


class Trial(Record):
    """One measured point. Only ``ok`` counts, and it alone has ``metrics``.

    ``failed``: a request, its warm-up or the command ended in an error; ``invalid``: a check does not hold;
    ``timeout``, ``stalled``, ``oom`` and ``interrupted`` say how it ended before. ``why`` is the planner's reason.
    ``recipe`` is that of the variant; it, ``argv`` (trtkit's own) and ``command`` (the runner's, where it starts one)
    name no folder of the machine. ``checks`` follow from the requests kept, ``conditions`` from what was seen while it
    ran. ``duration_s`` is by a clock that never steps back, None in records of schema 1.
    ``evidence`` is the SHA-256 of each file beside the record.
    """

    schema_version: Literal[2] = 2
    sweep_id: str
    point_id: str
    point: Point
    attempt: int
    runner: RunnerKind
    why: str
    status: Status
    error: str | None
    hardware: str
    env_id: str
    server: ServedBy | None
    load_average_1m: float
    argv: tuple[str, ...]
    command: tuple[str, ...]
    recipe: dict[str, Any]
    prompts_sha256: str
    started_at: str
    ended_at: str
    duration_s: float | None
    checks: tuple[Check, ...]
    conditions: tuple[Check, ...]
    metrics: Metrics | None
    telemetry: TelemetrySummary | None
    energy_j: float | None
    evidence: dict[str, str]

    @property
    def trial_id(self) -> str:
        return f"{self.point_id}/r{self.point.repeat}-{self.attempt}"

    @property
    def variant(self) -> str:
        return self.point.variant

    @property
    def reason(self) -> str:
        """Why it is not ``ok``."""
        return self.error or "; ".join(
            f"{check.name}: {check.detail}"
            for check in (*self.checks, *self.conditions)
            if not check.passed and check.name not in WARNINGS
        )


def upgrade_trial(document: dict[str, Any]) -> dict[str, Any]:
    """A trial of schema 1 as one of schema 2: it went through Triton, over a grid."""
    rest = {key: value for key, value in document.items() if key != "requests_sha256"}
    new = {
        "schema_version": 2,
        "runner": "triton",
        "why": "grid: every point is measured",
        "command": (),
        "duration_s": None,
        "conditions": (),
        "telemetry": None,
        "energy_j": None,
        "evidence": {REQUESTS_FILE: document.get("requests_sha256")},
    }
    return rest | new
