"""What came of one run, and the judgement on it: pure functions over exit code, logs and report."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Literal

from toolkit.bench.trtllm.argv import PointFiles
from toolkit.bench.trtllm.identities import IDENTITIES, OSL_TOLERANCE
from toolkit.bench.trtllm.logs import Progress, is_out_of_memory, useful_line
from toolkit.bench.trtllm.measurement import Measurement
from toolkit.bench.trtllm.request_json import BenchRequest

Status = Literal["ok", "failed", "no_report", "invalid", "oom", "timeout", "stalled", "interrupted"]
"""``failed``: not started, or an exit code other than 0. ``no_report``: exit code 0 and nothing to read, as after
SIGINT. ``invalid``: a report that does not hold. ``stalled``: no progress for too long. ``timeout``: wall clock."""

Ended = Literal["timeout", "stalled", "interrupted"]


@dataclass(frozen=True, slots=True)
class Expected:
    """What the measured requests were asked for: their number and mean lengths in tokens."""

    requests: int
    mean_isl: float
    mean_osl: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """``reason`` is one line, "" for ``ok``. ``measurement`` and ``requests`` are there for any run that left them, ok
    or not. ``exit_code`` is minus a signal's number, None where the command could not be started. ``outlived`` are
    processes that the command left behind and that were ended, ``left`` those that could not be."""

    status: Status
    reason: str
    exit_code: int | None
    duration_s: float
    files: PointFiles
    measurement: Measurement | None = None
    requests: tuple[BenchRequest, ...] | None = None
    progress: Progress | None = None
    outlived: int = 0
    left: tuple[int, ...] = ()

    @property
    def ok(self) -> bool:
        return self.status == "ok"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run left. ``fault`` says why a file that is there cannot be read."""

    stdout: str
    stderr: str
    measurement: Measurement | None
    requests: tuple[BenchRequest, ...] | None
    fault: str | None


def judge(exit_code: int, evidence: Evidence, expected: Expected) -> tuple[Status, str]:
    """Status and reason of a run that ended by itself.

    Exit code 0 alone proves nothing: the report has to be there, with the requests and lengths that were asked for, and
    its numbers have to agree with each other.
    """
    if exit_code != 0:
        return _failure(exit_code, evidence)
    if evidence.fault is not None:
        return "invalid", evidence.fault
    if evidence.measurement is None:
        if is_out_of_memory(evidence.stderr, evidence.stdout):
            return "oom", _with_line("exit code 0 without a report, out of memory", evidence)
        return "no_report", _with_line("exit code 0 without a report: interrupted, or out of memory", evidence)
    faults = _faults(evidence.measurement, evidence.requests, expected)
    return ("invalid", faults[0]) if faults else ("ok", "")


def _failure(exit_code: int, evidence: Evidence) -> tuple[Status, str]:
    killed = exit_code in (-signal.SIGKILL, 128 + signal.SIGKILL)
    how = f"ended by {_signal(-exit_code)}" if exit_code < 0 else f"exit code {exit_code}"
    if evidence.measurement is not None:
        how += " after its report"
    if killed or is_out_of_memory(evidence.stderr, evidence.stdout):
        return "oom", _with_line(f"{how}, out of memory" if not killed else f"{how}, as when memory runs out", evidence)
    return "failed", _with_line(how, evidence)


def ended_early(ended: Ended, why: str, evidence: Evidence) -> tuple[Status, str]:
    """Status and reason of a run that was ended."""
    return ended, _with_line(why, evidence)


def _faults(report: Measurement, requests: tuple[BenchRequest, ...] | None, expected: Expected) -> list[str]:
    """What is wrong with a report, worst first."""
    info = report.request_info
    needed = {
        "request_info.num_requests": info.num_requests,
        "request_info.avg_output_length_tok": info.avg_output_length_tok,
        "request_info.avg_input_length_tok": info.avg_input_length_tok,
    }
    notes = f" ({'; '.join(report.notes)})" if report.notes else ""
    faults = []
    if info.num_requests is not None and info.num_requests != expected.requests:
        faults.append(f"{info.num_requests} requests were measured, {expected.requests} asked for")
    if requests is not None:
        failed = sum(request.status == "error" for request in requests)
        faults += [f"{failed} of {len(requests)} requests failed"] if failed else []
        counts = (len(requests), expected.requests)
        faults += ["--request_json has {} requests, {} asked for".format(*counts)] if counts[0] != counts[1] else []
    faults += [f"the report has no {name}{notes}" for name, value in needed.items() if value is None]
    faults += [f"{check.detail}{notes}" for check in report.checks if check.name in IDENTITIES and check.holds is None]
    faults += _length("OSL", info.avg_output_length_tok, expected.mean_osl)
    faults += _length("ISL", info.avg_input_length_tok, expected.mean_isl)
    return faults + [f"the report contradicts itself: {check.detail}" for check in report.violations]


def _length(name: str, got: float | None, asked: float) -> list[str]:
    if got is None or abs(got - asked) <= OSL_TOLERANCE * asked:
        return []
    return [f"mean {name} is {got:.6g} tokens, {asked:.6g} asked for"]


def _with_line(reason: str, evidence: Evidence) -> str:
    line = useful_line(evidence.stderr, evidence.stdout)
    return reason if line is None else f"{reason}: {line}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
