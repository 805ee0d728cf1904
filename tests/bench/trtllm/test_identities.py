from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.bench.trtllm import texts
from tests.bench.trtllm.test_report_json import REPORT
from toolkit.bench.trtllm.identities import IDENTITIES, Interval, input_length, output_length
from toolkit.bench.trtllm.measurement import Measurement
from toolkit.bench.trtllm.parse import parse


def changed(**blocks: dict[str, Any]) -> Measurement:
    report = copy.deepcopy(REPORT)
    for block, values in blocks.items():
        report[block].update(values)
    return parse(json.dumps(report))


def broken(report: Measurement) -> set[str]:
    return {check.name for check in report.violations}


@pytest.mark.parametrize(
    ("block", "key", "factor", "names"),
    [
        ("performance", "system_output_throughput_tok_s", 2, {"output_throughput", "per_gpu_throughput"}),
        ("performance", "system_total_throughput_tok_s", 2, {"total_throughput"}),
        ("performance", "avg_request_latency_ms", 2, {"concurrency"}),
        ("request_info", "avg_num_concurrent_requests", 2, {"concurrency"}),
        ("performance", "total_latency_ms", 2, {"total_latency"}),
        ("request_info", "num_requests", 2, {"total_latency"}),
        ("performance", "output_throughput_per_gpu_tok_s", 2, {"per_gpu_throughput"}),
        ("world_info", "world_size", 2, {"per_gpu_throughput"}),
        ("request_info", "avg_input_length", 2, {"total_throughput"}),
        ("request_info", "avg_output_length", 2, {"output_throughput", "total_throughput", "osl_as_asked"}),
        ("performance", "request_throughput_req_s", 2, set(IDENTITIES) - {"per_gpu_throughput"}),
    ],
)
def test_each_number_is_held_by_an_identity(block: str, key: str, factor: int, names: set[str]) -> None:
    assert broken(changed(**{block: {key: REPORT[block][key] * factor}})) == names


@pytest.mark.parametrize(
    ("printed", "holds"),
    [("250.0000", True), ("250.0027", True), ("250.0029", False), ("249.9973", True), ("249.9971", False)],
)
def test_tolerance_is_the_rounding_of_what_was_printed(printed: str, holds: bool) -> None:
    """5.0000 stands for 4.99995 to 5.00005, 50.0000 for 49.99995 to 50.00005: their product lies within 0.00275."""
    label = "Total Output Throughput (tokens/sec):             "
    text = texts.V2.replace(f"{label}250.0000", f"{label}{printed}")
    (check,) = (check for check in parse(text).checks if check.name == "output_throughput")
    assert check.holds is holds


def test_rounded_to_nothing() -> None:
    """0.2 requests a second stand for 0.15 to 0.25, so 50 tokens each are at most 12.5 tokens a second."""
    performance = {"request_throughput_req_s": 0.2, "system_output_throughput_tok_s": 12.4}
    assert "output_throughput" not in broken(changed(performance=performance))
    performance = {"request_throughput_req_s": 0.2, "system_output_throughput_tok_s": 12.7}
    assert "output_throughput" in broken(changed(performance=performance))


def test_world_size_from_tp_and_pp() -> None:
    """The console does not print it: 125 a GPU on TP 2 × PP 1."""
    assert broken(parse(texts.V2)) == set()
    assert broken(parse(texts.V2.replace("PP Size:                1", "PP Size:                2"))) == {
        "per_gpu_throughput"
    }


def test_a_missing_number_decides_nothing() -> None:
    report = parse(json.dumps({key: value for key, value in REPORT.items() if key != "request_info"}))
    holds = {check.name: check.holds for check in report.checks}
    assert holds == {
        "output_throughput": None,
        "total_throughput": None,
        "concurrency": None,
        "total_latency": True,  # the dataset's count
        "per_gpu_throughput": True,
        "osl_as_asked": True,  # 250 / 5 against the dataset's statistics
        "has_requests": None,
    }
    assert report.checks[0].detail == "output tok/s = req/s · OSL: no request_info.avg_output_length_tok"


@pytest.mark.parametrize(
    ("average", "holds"), [(50.0, True), (50.49, True), (49.52, True), (50.6, False), (49.4, False)]
)
def test_outputs_may_be_off_by_one_per_cent(average: float, holds: bool) -> None:
    stats = REPORT["dataset"]["osl_stats"] | {"average": average}
    assert ("osl_as_asked" not in broken(changed(dataset={"osl_stats": stats}))) is holds


@pytest.mark.parametrize(("mean", "holds"), [(50, True), (49, True), (48, False), (51, False)])
def test_a_mean_cut_to_an_integer_stands_for_all_up_to_the_next(mean: int, holds: bool) -> None:
    assert ("osl_as_asked" not in broken(changed(dataset={"osl_stats": None, "avg_osl": mean}))) is holds


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("100_50.jsonl", True),
        ("100_50_10.json", True),
        ("synthetic_100_128.jsonl", False),
        ("100_128_10.jsonl", False),
        ("128_128_10.jsonl", None),  # not its input length: it means something else
        ("llama3.1_8b.jsonl", None),
        ("data.jsonl", None),
    ],
)
def test_the_lengths_in_a_dataset_name(name: str, holds: bool | None) -> None:
    report = changed(dataset={"osl_stats": None, "avg_osl": None, "dataset_path": f"/d/{name}"})
    (check,) = (check for check in report.checks if check.name == "osl_as_asked")
    assert check.holds is holds


def test_no_requests() -> None:
    report = changed(request_info={"num_requests": 0})
    assert "has_requests" in broken(report)
    nothing = {key: 0.0 for key, value in REPORT["performance"].items() if isinstance(value, float)}
    report = changed(performance=nothing, request_info={"num_requests": 0, "avg_num_concurrent_requests": 0.0})
    assert "has_requests" in broken(report)


def test_lengths_without_the_request_section() -> None:
    report = parse(texts.OVERVIEW)
    assert (output_length(report), input_length(report)) == (50.0, 100.0)
    assert output_length(parse(texts.OVERVIEW.replace("5.0000", "0.0000", 1))) is None


def test_interval() -> None:
    assert Interval(1, 2) + Interval(10, 20) == Interval(11, 22)
    assert Interval(1, 2) * Interval(10, 20) == Interval(10, 40)
    assert Interval(1, 2).meets(Interval(2, 3))
    assert not Interval(1, 2).meets(Interval(2.1, 3))
