from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from toolkit.bench.trtllm.measurement import Measurement, Stats
from toolkit.bench.trtllm.parse import parse

STATS = {"p50": 1.5, "p90": 2.5, "p95": 3.5, "p99": 4.5, "minimum": 0.5, "maximum": 5.5, "average": 2.25}
EVERY = Stats(p50=1.5, p90=2.5, p95=3.5, p99=4.5, minimum=0.5, maximum=5.5, average=2.25)
REPORT: dict[str, Any] = {
    "engine": {
        "model": "made/up",
        "model_path": "None",
        "engine_dir": "None",
        "version": "1.3.0rc12",
        "backend": "Pytorch",
        "dtype": "bfloat16",
        "kv_cache_dtype": None,
        "quantization": "NVFP4",
    },
    "machine": {"name": "Made-up GPU", "memory.total": 79.65, "clocks.mem": 2.619},
    "world_info": {
        "tp_size": 2,
        "pp_size": 1,
        "ep_size": None,
        "world_size": 2,
        "max_batch_size": 64,
        "max_num_tokens": 2048,
        "scheduling_policy": "GUARANTEED_NO_EVICT",
        "kv_cache_percentage": 0.9,
        "issue_rate": 1.0e15,
    },
    "request_info": {
        "num_requests": 10,
        "avg_num_concurrent_requests": 4.0,
        "avg_input_length": 100.0,
        "avg_output_length": 50.0,
    },
    "performance": {
        "total_latency_ms": 2000.0,
        "avg_request_latency_ms": 800.0,
        "request_throughput_req_s": 5.0,
        "system_output_throughput_tok_s": 250.0,
        "system_total_throughput_tok_s": 750.0,
        "output_throughput_per_user_tok_s": 62.5,
        "output_throughput_per_gpu_tok_s": 125.0,
        "request_latency_percentiles_ms": STATS,
    },
    "energy": {"total_energy_j": 600.0, "output_tps_per_w": 0.83, "average_gpu_power": 300.0},
    "streaming_metrics": {
        "token_output_speed_tok_s": 70.0,
        "avg_ttft_ms": 100.0,
        "avg_tpot_ms": 14.2857,
        "tpot_percentiles": STATS,
        "ttft_percentiles": STATS,
        "gen_tps_percentiles": STATS,
    },
    "decoding_stats": {
        "mode": "MTP",
        "num_draft_tokens_percentiles": STATS,
        "num_accepted_draft_tokens_percentiles": STATS,
        "draft_acceptance_rate_percentiles": None,
        "acceptance_length_percentiles": STATS,
    },
    "dataset": {
        "isl_stats": STATS,
        "osl_stats": STATS | {"average": 50.0},
        "seq_len_stats": STATS,
        "num_requests": 10,
        "dataset_path": "/data/d.jsonl",
        "max_isl": 110,
        "max_osl": 50,
        "max_sequence_length": 160,
        "avg_isl": 100,
        "avg_osl": 50,
        "avg_sequence_length": 150,
    },
}


def changed(block: str, **values: Any) -> Measurement:
    report = copy.deepcopy(REPORT)
    report[block].update(values)
    return parse(json.dumps(report, indent=4))


def test_everything() -> None:
    report = parse(json.dumps(REPORT, indent=4))
    assert (report.source, report.generation) == ("report-json", "json-energy")
    assert report.engine.model_dump(exclude_none=True) == {
        "model": "made/up",
        "version": "1.3.0rc12",
        "backend": "Pytorch",
        "dtype": "bfloat16",
        "quantization": "NVFP4",
    }
    assert report.machine is not None
    assert tuple(report.machine.model_dump().values()) == ("Made-up GPU", 79.65, 2.619)
    assert tuple(report.world.model_dump().values()) == (2, 1, None, 2, 64, 2048, "GUARANTEED_NO_EVICT", 0.9, 1e15)
    assert tuple(report.request_info.model_dump().values()) == (10, 4.0, 100.0, 50.0)
    assert tuple(report.performance.model_dump(exclude={"request_latency_ms"}).values()) == (
        *(2000.0, 800.0, 5.0, 250.0, 750.0, 62.5, 125.0),
    )
    assert report.performance.request_latency_ms == EVERY
    assert report.energy is not None
    assert tuple(report.energy.model_dump().values()) == (600.0, 0.83, 300.0)
    assert report.streaming is not None
    assert (report.streaming.token_output_speed_tok_s, report.streaming.avg_ttft_ms) == (70.0, 100.0)
    assert report.streaming.avg_tpot_ms == 14.2857
    assert report.streaming.ttft_ms == report.streaming.tpot_ms == EVERY
    assert report.streaming.generation_throughput_tok_s == EVERY
    assert report.decoding is not None
    assert report.decoding.mode == "MTP"
    assert report.decoding.num_draft_tokens == report.decoding.acceptance_length == EVERY
    assert report.decoding.num_accepted_draft_tokens == EVERY
    assert report.decoding.draft_acceptance_rate == Stats()
    assert report.dataset.isl_tok == report.dataset.seq_len_tok == EVERY
    assert report.dataset.path == "/data/d.jsonl"
    assert report.dataset.model_dump(include={"max_isl_tok", "max_osl_tok", "max_sequence_length_tok"}) == {
        "max_isl_tok": 110,
        "max_osl_tok": 50,
        "max_sequence_length_tok": 160,
    }
    assert (report.dataset.avg_isl_tok, report.dataset.avg_osl_tok, report.dataset.avg_sequence_length_tok) == (
        *(100, 50, 150),
    )
    assert report.notes == ()
    assert report.missing == ("decoding.draft_acceptance_rate",)
    assert all(check.holds for check in report.checks)


@pytest.mark.parametrize(
    ("removed", "machine", "generation"),
    [(("energy",), REPORT["machine"], "json-machine"), (("energy",), None, "json-machine")],
)
def test_generations(removed: tuple[str, ...], machine: object, generation: str) -> None:
    report = {key: value for key, value in REPORT.items() if key not in removed} | {"machine": machine}
    assert parse(json.dumps(report)).generation == generation


def test_before_1_3() -> None:
    blocks = ("engine", "world_info", "request_info", "performance", "dataset")
    report = parse(json.dumps({block: REPORT[block] for block in blocks}))
    assert report.generation == "json"
    assert (report.machine, report.energy, report.streaming, report.decoding) == (None, None, None, None)
    assert report.missing == ()


@pytest.mark.parametrize(
    ("value", "note"),
    [
        (float("nan"), "is NaN"),
        (float("inf"), "is infinite"),
        (10**400, "is too large"),
        ("soon", "is no number"),
        (True, "is no number"),
        ([1.0], "is no number"),
        (-1.0, "is negative"),
    ],
)
def test_no_number(value: object, note: str) -> None:
    report = changed("performance", total_latency_ms=value)
    assert report.performance.total_latency_ms is None
    assert report.notes == (f"performance.total_latency_ms {note}",)
    assert report.missing == ("decoding.draft_acceptance_rate",)


def test_no_whole_number_and_no_text() -> None:
    assert changed("request_info", num_requests=9.5).notes == ("request_info.num_requests is no whole number",)
    assert changed("engine", model=7).notes == ("engine.model is no text",)
    assert changed("request_info", num_requests=10.0).request_info.num_requests == 10


def test_blocks_of_another_kind() -> None:
    report = parse(json.dumps(REPORT | {"world_info": [1], "performance": "none"}))
    assert report.notes == ("world_info is no object", "performance is no object")
    assert report.missing[:2] == ("world", "performance")
    report = changed("performance", request_latency_percentiles_ms=7.0)
    assert report.notes == ("performance.request_latency_ms is no object",)


@pytest.mark.parametrize("indent", [None, 4])
def test_cut_anywhere(indent: int | None) -> None:
    """It gives what it has, and says that it is cut."""
    text = json.dumps(REPORT, indent=indent)
    whole = parse(text)
    first = text.index(",")
    for end in range(first + 1, len(text) - 1, 7):
        part = parse(text[:end])
        assert part.notes[-1:] == ("the JSON is cut",)
        for section in ("engine", "world", "request_info", "performance"):
            fields = getattr(part, section).model_dump(exclude_none=True, exclude={"request_latency_ms"})
            assert fields.items() <= getattr(whole, section).model_dump().items()


def test_a_report_in_a_string_with_brackets() -> None:
    report = changed("engine", model='made"up}]{[,\\')
    assert report.engine.model == 'made"up}]{[,\\'
    cut = json.dumps(REPORT | {"engine": {"model": 'a"}],', "version": "1"}, "performance": {"total_latency_ms": 5}})
    assert parse(cut[: cut.index('"version"')]).engine.model == 'a"}],'
