"""What must hold between the numbers of one report.

Every printed number stands for the interval of values that round to it: half a unit of its last digit either way. An
equation holds where the intervals of its two sides meet, so there is no other tolerance for it. The length of the
outputs may be off by ``OSL_TOLERANCE``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from toolkit.bench.trtllm.findings import Findings
from toolkit.bench.trtllm.measurement import Check, Measurement

OSL_TOLERANCE = 0.01
_FLOAT_ERROR = 1e-9
_LENGTHS = re.compile(r"(?<![\d.])(\d+)_(\d+)(?:_(\d+))?(?=\D*$)")


@dataclass(frozen=True, slots=True)
class Interval:
    """Values not below 0."""

    low: float
    high: float

    def __mul__(self, other: Interval) -> Interval:
        return Interval(self.low * other.low, self.high * other.high)

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.high + other.high)

    def scaled(self, factor: float) -> Interval:
        return Interval(self.low * factor, self.high * factor)

    def meets(self, other: Interval) -> bool:
        slack = _FLOAT_ERROR * max(self.high, other.high)
        return self.low <= other.high + slack and other.low <= self.high + slack

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2


class _Missing(Exception):
    """A number that an equation needs is not there."""


def check_report(report: Measurement, found: Findings) -> tuple[Check, ...]:
    """The five identities, whether the outputs are as long as asked for, and whether anything was measured."""

    def printed(path: str) -> Interval:
        if path not in found.values:
            raise _Missing(path)
        value, half = found.values[path], found.rounding[path]
        return Interval(max(0.0, value - half), value + half)

    return (
        *(_equation(name, words, sides, report, printed) for name, words, sides in _EQUATIONS),
        _output_length(report, printed),
        _requests(report),
    )


Printed = Callable[[str], Interval]
Sides = Callable[[Measurement, Printed], tuple[Interval, Interval]]


def _output(report: Measurement, of: Printed) -> tuple[Interval, Interval]:
    rate = of("performance.request_throughput_req_s")
    return of("performance.system_output_throughput_tok_s"), rate * of("request_info.avg_output_length_tok")


def _total(report: Measurement, of: Printed) -> tuple[Interval, Interval]:
    lengths = of("request_info.avg_input_length_tok") + of("request_info.avg_output_length_tok")
    rate = of("performance.request_throughput_req_s")
    return of("performance.system_total_throughput_tok_s"), rate * lengths


def _concurrency(report: Measurement, of: Printed) -> tuple[Interval, Interval]:
    latency_s = of("performance.avg_request_latency_ms").scaled(1e-3)
    return of("request_info.avg_concurrent_requests"), of("performance.request_throughput_req_s") * latency_s


def _count(report: Measurement, of: Printed) -> tuple[Interval, Interval]:
    window_s = of("performance.total_latency_ms").scaled(1e-3)
    has_count = report.request_info.num_requests is not None
    count = of("request_info.num_requests" if has_count else "dataset.num_requests")
    return count, of("performance.request_throughput_req_s") * window_s


def _per_gpu(report: Measurement, of: Printed) -> tuple[Interval, Interval]:
    if report.world.gpus is None:
        raise _Missing("world.world_size" if report.source == "report-json" else "world.tp_size and world.pp_size")
    per_gpu = of("performance.output_throughput_per_gpu_tok_s")
    return of("performance.system_output_throughput_tok_s"), per_gpu.scaled(report.world.gpus)


_EQUATIONS: tuple[tuple[str, str, Sides], ...] = (
    ("output_throughput", "output tok/s = req/s · OSL", _output),
    ("total_throughput", "total tok/s = req/s · (ISL + OSL)", _total),
    ("concurrency", "concurrency = req/s · request latency", _concurrency),
    ("total_latency", "requests = req/s · total latency", _count),
    ("per_gpu_throughput", "output tok/s = output tok/s/GPU · GPUs", _per_gpu),
)
IDENTITIES = tuple(name for name, _, _ in _EQUATIONS)
"""Names of the five, as in ``Check.name``."""


def _equation(name: str, words: str, sides: Sides, report: Measurement, of: Printed) -> Check:
    try:
        left, right = sides(report, of)
    except _Missing as missing:
        return Check(name=name, holds=None, detail=f"{words}: no {missing}")
    values = f"{left.middle:.10g} and {right.middle:.10g} ± {left.half + right.half:.3g}"
    return Check(name=name, holds=left.meets(right), detail=f"{words}: {values}")


def output_length(report: Measurement) -> float | None:
    """Mean output tokens of a request: as printed, else output tok/s over req/s."""
    if report.request_info.avg_output_length_tok is not None:
        return report.request_info.avg_output_length_tok
    return _ratio(report.performance.system_output_throughput_tok_s, report.performance.request_throughput_req_s)


def input_length(report: Measurement) -> float | None:
    """Mean input tokens of a request: as printed, else what is left of total tok/s over req/s."""
    performance, length = report.performance, output_length(report)
    if report.request_info.avg_input_length_tok is not None:
        return report.request_info.avg_input_length_tok
    both = _ratio(performance.system_total_throughput_tok_s, performance.request_throughput_req_s)
    return None if both is None or length is None else both - length


def _ratio(left: float | None, right: float | None) -> float | None:
    return left / right if left is not None and right else None


def _output_length(report: Measurement, of: Printed) -> Check:
    got, asked = output_length(report), next(_asked(report), None)
    if got is None or asked is None:
        missing = "length of the outputs" if got is None else "length that was asked for"
        return Check(name="osl_as_asked", holds=None, detail=f"OSL = OSL asked for: no {missing}")
    low, high, where = asked
    holds = low * (1 - OSL_TOLERANCE) <= got <= high * (1 + OSL_TOLERANCE)
    return Check(name="osl_as_asked", holds=holds, detail=f"OSL = OSL asked for: {got:.6g}, {where} says {low:.6g}")


def _asked(report: Measurement) -> Iterator[tuple[float, float, str]]:
    """Lowest and highest mean OSL that the dataset can have asked for, and where that stands; best source first."""
    dataset = report.dataset
    if dataset.osl_tok.average is not None:
        yield dataset.osl_tok.average, dataset.osl_tok.average, "the dataset's statistics"
    if dataset.avg_osl_tok is not None:
        yield dataset.avg_osl_tok, math.nextafter(dataset.avg_osl_tok + 1, 0), "the dataset's mean"
    name = PurePosixPath(dataset.path or "").name
    lengths, measured = _LENGTHS.search(name), input_length(report)
    # a name counts where its first number is the input length: then it is ISL_OSL or ISL_OSL_N
    if lengths and measured is not None and math.isclose(measured, int(lengths[1]), rel_tol=OSL_TOLERANCE):
        yield float(lengths[2]), float(lengths[2]), f"the dataset's name ({name})"


def _requests(report: Measurement) -> Check:
    count = report.request_info.num_requests
    detail = "at least one request: " + ("no request_info.num_requests" if count is None else f"{count}")
    return Check(name="has_requests", holds=None if count is None else count > 0, detail=detail)
