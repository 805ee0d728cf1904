"""A ``Measurement`` as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.bench.trtllm.identities import input_length, output_length
from toolkit.bench.trtllm.measurement import Measurement, Stats


def card(report: Measurement) -> list[str]:
    """Values with their units; what is missing is not shown as a value but named at the end."""
    lines = [f"  {name:<10}{', '.join(words)}" for name, words in _rows(report) if words]
    held = sum(check.holds is True for check in report.checks)
    open_checks = [check.name for check in report.checks if check.holds is None]
    lines.append(f"  {'checks':<10}{held} hold" + (f", no numbers for {', '.join(open_checks)}" if open_checks else ""))
    lines += [f"  WRONG     {check.name}: {check.detail}" for check in report.violations]
    lines += [f"  note      {note}" for note in report.notes]
    lines += [f"  missing   {', '.join(report.missing)}"] if report.missing else []
    # names come from whoever wrote the file
    return ["".join(c if c.isprintable() else "?" for c in line) for line in lines]


def title(report: Measurement) -> str:
    """``trtllm-bench 1.1.0rc2, console text (v2)``."""
    form = "report JSON" if report.source == "report-json" else "console text"
    return f"trtllm-bench {report.engine.version or '(release not said)'}, {form} ({report.generation or 'cut'})"


def _rows(report: Measurement) -> Iterator[tuple[str, list[str]]]:
    engine, world, performance = report.engine, report.world, report.performance
    yield "model", [word for word in (engine.model, engine.dtype, engine.quantization, engine.backend) if word]
    if report.machine:
        machine = report.machine
        yield "machine", [*([machine.name] if machine.name else []), *_value(machine.memory_total_gib, "GiB")]
    parallel = [f"{name} {size}" for name, size in _sizes(report) if size is not None]
    limits = [*_value(world.max_batch_size, "requests a batch"), *_value(world.max_num_tokens, "tokens a batch")]
    yield "world", parallel + limits
    yield "requests", list(_requests(report))
    yield (
        "output",
        [
            *_value(performance.system_output_throughput_tok_s, "tok/s"),
            *_value(performance.output_throughput_per_gpu_tok_s, "tok/s/GPU"),
            *_value(performance.output_throughput_per_user_tok_s, "tok/s/user"),
            *_value(performance.request_throughput_req_s, "req/s"),
        ],
    )
    yield "in + out", _value(performance.system_total_throughput_tok_s, "tok/s")
    yield "window", _value(performance.total_latency_ms, "ms")
    yield "latency", [*_average(performance.avg_request_latency_ms), *_tail(performance.request_latency_ms)]
    if report.streaming:
        streaming = report.streaming
        yield "TTFT", [*_average(streaming.avg_ttft_ms), *_tail(streaming.ttft_ms)]
        yield "TPOT", [*_average(streaming.avg_tpot_ms), *_tail(streaming.tpot_ms)]
        yield "speed", _value(streaming.token_output_speed_tok_s, "tok/s/user after the first token")
    if report.energy:
        energy = report.energy
        joule, watt = _value(energy.total_energy_j, "J"), _value(energy.average_gpu_power_w, "W")
        yield "energy", [*joule, *watt, *_value(energy.output_tok_s_per_w, "tok/s/W")]


def _sizes(report: Measurement) -> tuple[tuple[str, int | None], ...]:
    return ("TP", report.world.tp_size), ("PP", report.world.pp_size), ("EP", report.world.ep_size)


def _requests(report: Measurement) -> Iterator[str]:
    info = report.request_info
    yield from _value(info.num_requests if info.num_requests is not None else report.dataset.num_requests, "requests")
    for name, value in (
        ("ISL", input_length(report)),
        ("OSL", output_length(report)),
        ("concurrency", info.avg_concurrent_requests),
    ):
        if value is not None:
            yield f"{name} {_number(value)}"


def _average(value: float | None) -> list[str]:
    return [] if value is None else [f"mean {_number(value)} ms"]


def _tail(stats: Stats) -> list[str]:
    ranks = (("p50", stats.p50), ("p90", stats.p90), ("p99", stats.p99), ("max", stats.maximum))
    return [f"{name} {_number(value)} ms" for name, value in ranks if value is not None]


def _value(value: float | None, unit: str) -> list[str]:
    return [] if value is None else [f"{_number(value)} {unit}"]


def _number(value: float) -> str:
    """Two decimals from 100 on, four digits below; no thousands separators, so that it can be typed again."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value >= 100 else f"{value:.4g}"
