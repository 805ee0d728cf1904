"""Reports of real runs (tables copied by hand from their texts), then made-up ones of every kind."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.bench.trtllm import texts
from tests.bench.trtllm.test_report_json import REPORT
from toolkit.bench.trtllm.measurement import Measurement
from toolkit.bench.trtllm.parse import parse, parse_all
from toolkit.errors import RecordError


def values(report: Measurement) -> dict[str, Any]:
    """What is there, by dotted path; without checks, notes and what is missing."""
    nested = report.model_dump(exclude={"checks", "missing", "notes", "schema_version", "source", "generation"})

    def flat(prefix: str, part: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in part.items():
            found |= flat(f"{prefix}{key}.", value) if isinstance(value, dict) else {f"{prefix}{key}": value}
        return found

    return {path: value for path, value in flat("", nested).items() if value is not None}


def stats(path: str, minimum: float, maximum: float, average: float, *ranks: float) -> dict[str, float]:
    """In the order of the console: minimum, maximum, average, then p50, p90, p95, p99."""
    names = ("minimum", "maximum", "average", "p50", "p90", "p95", "p99")
    return {f"{path}.{name}": value for name, value in zip(names, (minimum, maximum, average, *ranks), strict=True)}


def holding(report: Measurement) -> dict[str, bool | None]:
    return {check.name: check.holds for check in report.checks}


SAMPLE_01 = {
    "engine.model": "meta-llama/Llama-3.1-8B-Instruct",
    "engine.version": "0.21.0rc0",
    "engine.backend": "Pytorch",
    "engine.dtype": "bfloat16",
    "request_info.num_requests": 100,
    "request_info.avg_concurrent_requests": 94.6050,
    "request_info.avg_input_length_tok": 128.0,
    "request_info.avg_output_length_tok": 128.0,
    "world.tp_size": 1,
    "world.pp_size": 1,
    "world.max_batch_size": 3840,
    "world.max_num_tokens": 7680,
    "world.scheduling_policy": "GUARANTEED_NO_EVICT",
    "world.kv_cache_fraction": 0.9,
    "world.issue_rate_req_s": 1.0526e15,
    "performance.request_throughput_req_s": 86.5373,
    "performance.system_output_throughput_tok_s": 11076.7700,
    "performance.system_total_throughput_tok_s": 22153.5399,
    "performance.total_latency_ms": 1155.5715,
    "performance.avg_request_latency_ms": 1093.2284,
    "performance.output_throughput_per_user_tok_s": 117.1544,
    "performance.output_throughput_per_gpu_tok_s": 11076.7700,
    **stats(
        "performance.request_latency_ms", 1050.1519, 1137.6817, 1093.2284, 1091.7905, 1130.7200, 1133.0074, 1137.6817
    ),
    "streaming.avg_ttft_ms": 162.6706,
    "streaming.avg_tpot_ms": 7.3272,
    "streaming.token_output_speed_tok_s": 137.1475,
    **stats("streaming.tpot_ms", 6.6450, 8.1306, 7.3272, 7.6079, 8.1246, 8.1289, 8.1306),
    **stats("streaming.ttft_ms", 93.9210, 232.4339, 162.6706, 159.7857, 220.0530, 226.9148, 232.4339),
    **stats(
        "streaming.generation_throughput_tok_s", 122.9921, 150.4894, 137.1475, 131.4444, 150.4112, 150.4606, 150.4894
    ),
    "dataset.path": "/workspace/benchmark_toolkit/synthetic_data.jsonl",
    "dataset.num_requests": 100,
    **stats("dataset.isl_tok", *[128.0] * 7),
    **stats("dataset.osl_tok", *[128.0] * 7),
    **stats("dataset.seq_len_tok", *[256.0] * 7),
}
SAMPLE_02 = {
    "engine.model": "meta-llama/Llama-3.2-3B-Instruct",
    "engine.version": "1.1.0rc2",
    "engine.backend": "Pytorch",
    "engine.dtype": "bfloat16",
    "request_info.num_requests": 16,
    "request_info.avg_concurrent_requests": 7.9940,
    "request_info.avg_input_length_tok": 13.0,
    "request_info.avg_output_length_tok": 256.0,
    "world.tp_size": 1,
    "world.pp_size": 1,
    "world.max_batch_size": 2816,
    "world.max_num_tokens": 3072,
    "world.scheduling_policy": "GUARANTEED_NO_EVICT",
    "world.kv_cache_fraction": 0.9,
    "world.issue_rate_req_s": 1.0535e17,
    "performance.request_throughput_req_s": 4.7501,
    "performance.system_output_throughput_tok_s": 1216.0159,
    "performance.system_total_throughput_tok_s": 1277.7668,
    "performance.total_latency_ms": 3368.3769,
    "performance.avg_request_latency_ms": 1682.9355,
    "performance.output_throughput_per_user_tok_s": 152.1153,
    "performance.output_throughput_per_gpu_tok_s": 1216.0159,
    **stats(
        "performance.request_latency_ms", 1678.1686, 1683.9602, 1682.9355, 1683.3179, 1683.8753, 1683.9602, 1683.9602
    ),
    "dataset.path": "/workspace/dataset.jsonl",
    "dataset.num_requests": 16,
}
SAMPLE_04 = {
    "engine.model": "meta-llama/Llama-3.1-8B",
    "engine.engine_dir": "/tmp/meta-llama/Llama-3.1-8B/tp_1_pp_1",
    "engine.version": "0.17.0",
    "engine.backend": "TRT",
    "engine.dtype": "bfloat16",
    "engine.kv_cache_dtype": "FP8",
    "engine.quantization": "FP8",
    "engine.max_input_length_tok": 256,
    "engine.max_sequence_length_tok": 256,
    "world.tp_size": 1,
    "world.pp_size": 1,
    "world.max_batch_size": 4096,
    "world.max_num_tokens": 8192,
    "world.scheduling_policy": "GUARANTEED_NO_EVICT",
    "world.kv_cache_fraction": 0.9,
    "world.issue_rate_req_s": 5.0689e14,
    "request_info.num_requests": 3000,
    "request_info.avg_input_length_tok": 128.0,
    "request_info.avg_output_length_tok": 128.0,
    "performance.system_output_throughput_tok_s": 28390.4265,
    "performance.request_throughput_req_s": 221.8002,
    "performance.total_latency_ms": 13525.6862,
}
SAMPLE_06 = {
    "performance.request_throughput_req_s": 21.0675,
    "performance.system_output_throughput_tok_s": 43146.2042,
    "performance.system_total_throughput_tok_s": 65100.6376,
    "performance.total_latency_ms": 5443839.8140,
    "performance.avg_request_latency_ms": 332826.9898,
    "performance.output_throughput_per_user_tok_s": 6.1806,
    "performance.output_throughput_per_gpu_tok_s": 5393.2755,
}
SAMPLE_09 = {
    "world.issue_rate_req_s": 2.3129e15,
    "performance.request_throughput_req_s": 248.4751,
    "performance.system_output_throughput_tok_s": 6957.3030,
    "performance.system_total_throughput_tok_s": 38762.1169,
    "performance.total_latency_ms": 120736.4401,
    "performance.avg_request_latency_ms": 53522.9014,
    "performance.output_throughput_per_user_tok_s": 0.5350,
    "performance.output_throughput_per_gpu_tok_s": 6957.3030,
    **stats(
        "performance.request_latency_ms",
        *(39903.1921, 69473.9218, 53522.9014, 54486.1063, 64358.7218, 66932.7024, 68887.7569),
    ),
    "dataset.path": "/workspace/datasets/nvidia/Llama-3.1-8B-Instruct-FP8/128_128_30000.jsonl",
    "dataset.num_requests": 30000,
}
SAMPLE_12 = {
    "engine.model": "selftest/model",
    "engine.model_path": "/path/to/model",
    "engine.version": "1.2",
    "engine.backend": "Pytorch",
    "engine.dtype": "bfloat16",
    "engine.kv_cache_dtype": "FP8",
    "engine.quantization": "NVFP4",
    "machine.name": "NVIDIA GB10",
    "machine.memory_total_gib": 119.7,
    "world.tp_size": 1,
    "world.max_batch_size": 1,
    "world.max_num_tokens": 512,
    "request_info.num_requests": 1,
    "request_info.avg_input_length_tok": 64.0,
    "request_info.avg_output_length_tok": 16.0,
    "request_info.avg_concurrent_requests": 1.0,
    "performance.total_latency_ms": 4743.5,
    "performance.avg_request_latency_ms": 4743.5,
    "performance.request_throughput_req_s": 0.21,
    "performance.system_output_throughput_tok_s": 3.37,
    "performance.system_total_throughput_tok_s": 16.86,
    "performance.output_throughput_per_user_tok_s": 3.37,
    "performance.output_throughput_per_gpu_tok_s": 3.37,
    **{f"performance.request_latency_ms.{rank}": 4743.5 for rank in ("p50", "p90", "p95", "p99")},
    "energy.total_energy_j": 56.1,
    "energy.output_tok_s_per_w": 0.285,
    "energy.average_gpu_power_w": 11.83,
    "streaming.token_output_speed_tok_s": 71.29,
    "streaming.avg_ttft_ms": 4533.1,
    "streaming.avg_tpot_ms": 14.03,
    **{f"streaming.tpot_ms.{rank}": 14.03 for rank in ("p50", "p90", "p95", "p99")},
    **{f"streaming.ttft_ms.{rank}": 4533.1 for rank in ("p50", "p90", "p95", "p99")},
    "streaming.generation_throughput_tok_s.p50": 71.29,
    "dataset.avg_isl_tok": 64,
    "dataset.avg_osl_tok": 16,
    "dataset.num_requests": 1,
    "dataset.max_isl_tok": 64,
    "dataset.max_osl_tok": 16,
}
NAMES = (
    *("output_throughput", "total_throughput", "concurrency", "total_latency", "per_gpu_throughput"),
    *("osl_as_asked", "has_requests"),
)
LACKS_TABLE = ("dataset.isl_tok", "dataset.osl_tok", "dataset.seq_len_tok")


@pytest.mark.parametrize(
    ("number", "generation", "expected", "checks"),
    [
        ("01", "v2", SAMPLE_01, (True, True, True, True, True, True, True)),
        ("02", "v2", SAMPLE_02, (True, True, True, True, True, None, True)),
        ("04", "v1", SAMPLE_04, (True, None, None, True, None, None, True)),
        ("06", "v2", SAMPLE_06, (None, None, None, None, None, None, None)),
        ("09", "v2", SAMPLE_09, (None, None, None, True, None, False, None)),
        ("12", "json-energy", SAMPLE_12, (True, True, True, True, None, True, True)),
    ],
)
def test_samples(
    shared_fixtures: Path, number: str, generation: str, expected: dict[str, Any], checks: tuple[bool | None, ...]
) -> None:
    report = parse(sample(shared_fixtures, number))
    assert values(report) == expected
    assert report.generation == generation
    assert report.source == ("report-json" if number == "12" else "console")
    assert holding(report) == dict(zip(NAMES, checks, strict=True))
    assert report.notes == ()


@pytest.mark.parametrize(
    ("number", "missing"),
    [
        ("01", ()),
        ("02", LACKS_TABLE),
        ("04", ()),
        ("06", ("engine", "world", "request_info", "performance.request_latency_ms", "dataset")),
        (
            "09",
            (
                "engine",
                *(f"world.{name}_size" for name in ("tp", "pp", "ep")),
                *("world.max_batch_size", "world.max_num_tokens", "world.scheduling_policy", "world.kv_cache_fraction"),
                "request_info",
                *LACKS_TABLE,
            ),
        ),
    ],
)
def test_what_samples_lack(shared_fixtures: Path, number: str, missing: tuple[str, ...]) -> None:
    assert parse(sample(shared_fixtures, number)).missing == missing


def test_the_mismatch_is_named(shared_fixtures: Path) -> None:
    (wrong,) = parse(sample(shared_fixtures, "09")).violations
    assert wrong.detail == "OSL = OSL asked for: 28, the dataset's name (128_128_30000.jsonl) says 128"


def sample(folder: Path, number: str) -> bytes:
    (path,) = (folder / "trtllm-bench-samples").glob(f"{number}-*")
    return path.read_bytes()


COMMON = {
    "request_info.num_requests": 10,
    "request_info.avg_input_length_tok": 100.0,
    "request_info.avg_output_length_tok": 50.0,
    "performance.request_throughput_req_s": 5.0,
    "performance.system_output_throughput_tok_s": 250.0,
    "performance.total_latency_ms": 2000.0,
    "world.tp_size": 2,
    "world.pp_size": 1,
    "world.max_batch_size": 64,
    "world.max_num_tokens": 2048,
}
SECOND = {
    **COMMON,
    "request_info.avg_concurrent_requests": 4.0,
    "world.ep_size": 2,
    "world.scheduling_policy": "GUARANTEED_NO_EVICT",
    "world.kv_cache_fraction": 0.9,
    "world.issue_rate_req_s": 1e15,
    "performance.system_total_throughput_tok_s": 750.0,
    "performance.avg_request_latency_ms": 800.0,
    "performance.output_throughput_per_user_tok_s": 62.5,
    "performance.output_throughput_per_gpu_tok_s": 125.0,
    **stats("performance.request_latency_ms", 600.0, 1000.0, 800.0, 800.0, 900.0, 950.0, 1000.0),
    "dataset.path": "/data/100_50_10.jsonl",
    "dataset.num_requests": 10,
    **stats("dataset.isl_tok", 90.0, 110000.0, 100.0, 100.0, 109.0, 110.0, 110.0),
    **stats("dataset.osl_tok", *[50.0] * 7),
    **stats("dataset.seq_len_tok", 140.0, 160.0, 150.0, 150.0, 159.0, 160.0, 160.0),
}
BACKEND = {
    "engine.model": "made/up",
    "engine.model_path": "/models/made up",
    "engine.version": "1.3.0rc5",
    "engine.backend": "Pytorch",
    "engine.dtype": "bfloat16",
    "engine.kv_cache_dtype": "FP8",
    "engine.quantization": "NVFP4",
}


def test_v1() -> None:
    report = parse(texts.V1)
    assert (report.generation, report.missing, report.notes) == ("v1", (), ())
    assert values(report) == {
        **COMMON,
        "engine.model": "made/up",
        "engine.engine_dir": "/engines/made up: tp_2",
        "engine.version": "0.17.0",
        "engine.backend": "TRT",
        "engine.dtype": "bfloat16",
        "engine.kv_cache_dtype": "FP8",
        "engine.max_input_length_tok": 256,
        "engine.max_sequence_length_tok": 512,
        "world.scheduling_policy": "MAX_UTILIZATION",
        "world.kv_cache_fraction": 0.855,
        "world.issue_rate_req_s": 5.0689e14,
    }


def test_v2_old() -> None:
    report = parse(texts.V2_OLD)
    assert (report.generation, report.notes) == ("v2-old", ())
    assert report.missing == ("engine", "streaming.ttft_ms")
    assert values(report) == {
        **SECOND,
        "streaming.token_output_speed_tok_s": 70.0,
        "streaming.avg_ttft_ms": 100.0,
        "streaming.avg_tpot_ms": 14.2857,
        **stats("streaming.tpot_ms", 14.0, 15.0, 14.2857, 14.2, 14.9, 15.0, 15.0),
    }
    assert all(holding(report).values())


def test_v2() -> None:
    report = parse(texts.V2)
    assert (report.generation, report.missing, report.notes) == ("v2", (), ())
    assert values(report) == {**SECOND, **BACKEND}


def test_v2_machine_with_speculative_decoding() -> None:
    report = parse(texts.V2_MACHINE)
    assert (report.generation, report.missing, report.notes) == ("v2-machine", (), ())
    assert values(report) == {
        **SECOND,
        **BACKEND,
        "machine.name": "Made-up GPU, 80GB",
        "machine.memory_total_gib": 79.65,
        "machine.memory_clock_ghz": 2.62,
        "decoding.mode": "MTP",
        "decoding.num_draft_tokens.minimum": 150.0,
        "decoding.num_draft_tokens.average": 151.5,
        "decoding.acceptance_length.average": 2.25,
        "decoding.acceptance_length.p99": 3.0,
    }


def test_a_log_around_it_and_colours() -> None:
    bar = (
        "\rBenchmarking:  90%|█████████ | 9/10 [00:01<00:00, 5.00it/s]\rBenchmarking: 100%|██████████| 10/10 [00:02]\n"
    )
    around = f"{texts.LOGGER}Number of requests: 99\n{bar}{texts.V2}{texts.LOGGER}TP Size: 77\nTraceback: x\n"
    coloured = around.replace("Total Latency", "\x1b[1mTotal Latency\x1b[0m").replace("\n", "\r\n")
    assert values(parse(coloured)) == {**SECOND, **BACKEND}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(encoding: str) -> None:
    assert values(parse(texts.V2.encode(encoding))) == {**SECOND, **BACKEND}


def test_the_logger_can_stand_before_the_first_ruler() -> None:
    assert values(parse(texts.LOGGER + texts.OVERVIEW))["performance.total_latency_ms"] == 2000.0


def test_no_gpu_information() -> None:
    report = parse(texts.V2_MACHINE.replace("Made-up GPU, 80GB, memory 79.65 GB, 2.62 GHz", "No GPU info available"))
    assert report.generation == "v2-machine"
    assert report.machine is not None
    assert report.machine.name is None
    assert report.missing == ("machine",)


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_nan_on_the_console(number: str) -> None:
    report = parse(texts.V2.replace("750.0000", number))
    assert report.performance.system_total_throughput_tok_s is None
    assert report.notes == (f"performance.system_total_throughput_tok_s is {'NaN' if number == 'nan' else 'infinite'}",)
    assert report.missing == ()
    assert holding(report)["total_throughput"] is None


def test_cut_anywhere() -> None:
    """Whatever is left of a whole report says nothing that the whole one does not."""
    whole = values(parse(texts.V2_MACHINE))
    # after a digit, where the rest of a number may be cut
    for end in [place + 1 for place, character in enumerate(texts.V2_MACHINE) if character.isdigit()]:
        try:
            part = values(parse(texts.V2_MACHINE[:end]))
        except RecordError:
            continue
        assert part.items() <= whole.items(), texts.V2_MACHINE[:end][-80:]


def test_the_last_value_of_a_cut_text() -> None:
    report = parse(texts.V2[: texts.V2.index("2000.0000") + len("2000.0000")])
    assert report.performance.total_latency_ms == 2000.0
    cut = parse(texts.V2[: texts.V2.index("2000.0000") + len("2000.00")])
    assert cut.performance.total_latency_ms is None
    assert "performance.total_latency_ms" in cut.missing


def test_several_reports() -> None:
    second = texts.OVERVIEW.replace("2000.0000", "4000.0000")
    log = f"{texts.V2}\n{second}\n{texts.V1}"
    assert [report.generation for report in parse_all(log)] == ["v2", "v2", "v1"]
    assert [report.performance.total_latency_ms for report in parse_all(log)] == [2000.0, 4000.0, 2000.0]
    assert parse_all(log)[1].engine.model is None
    assert parse(log).generation == "v1"
    assert parse(log).notes == ("the last of 3 reports",)


@pytest.mark.parametrize(
    "data",
    [
        *("", "\n", "Model: x\nDtype: y\n", "{}", "[]", '{"engine": 1}', '{"a": {"b": 1}}', "{" * 100_000, "null"),
        *(b"\x00\xff\xfe", b"\xff\xfe\x00", '{"performance": ', "9" * 5000),
    ],
)
def test_nothing_to_find(data: str | bytes) -> None:
    with pytest.raises(RecordError, match=r"^there is no trtllm-bench report in it\. Give what trtllm-bench printed"):
        parse(data)


@pytest.mark.parametrize("text", [texts.V1, texts.V2_OLD, texts.V2_MACHINE, json.dumps(REPORT, indent=4)])
def test_damaged_texts_are_read_or_refused(text: str) -> None:
    """Never a traceback, never a NaN in a result."""
    rng = random.Random(len(text))
    for _ in range(150):
        letters = list(text)
        for _ in range(rng.choice((1, 5, 40))):
            place = rng.randrange(len(letters))
            written = rng.choice('0123456789.:{}[]",=-% \nNe\x00\x1bé') * rng.choice((1, 9))
            letters[place : place + rng.choice((0, 1, 1, 90))] = written
        try:
            reports = parse_all("".join(letters))
        except RecordError:
            continue
        for report in reports:
            json.dumps(report.model_dump(), allow_nan=False)


def test_a_result_is_json_without_nan() -> None:
    report = parse(texts.V2.replace("750.0000", "nan"))
    assert Measurement.model_validate_json(json.dumps(report.model_dump(), allow_nan=False)) == report
