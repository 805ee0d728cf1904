from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from tests.bench.stats.made import PLAIN, cells, rows, sweep
from toolkit.bench.stats.compare import compare
from toolkit.bench.stats.options import THROUGHPUT, Metric, Options
from toolkit.bench.stats.samples import Samples, cell_of
from toolkit.errors import RecordError


def test_one_cell_is_the_classical_t_test() -> None:
    a, b = [100.0, 101.0, 102.5], [96.0, 97.5, 98.0, 97.0]
    (result,) = cells(sweep("a", [a]), sweep("b", [b]), PLAIN)
    oracle = stats.ttest_ind(np.log(b), np.log(a))
    interval = oracle.confidence_interval(0.95)
    assert result.p == pytest.approx(oracle.pvalue)
    assert result.q == result.p
    assert result.df == oracle.df
    assert result.ratio == pytest.approx(stats.gmean(b) / stats.gmean(a))
    assert result.interval is not None
    assert (result.interval.low, result.interval.high) == pytest.approx(
        (math.exp(interval.low), math.exp(interval.high))
    )
    assert result.baseline.median == 101.0
    assert result.candidate.median == 97.25


def test_equal_noise_in_all_cells_is_the_pooled_t_test() -> None:
    values = np.array([100.0, 101.0, 99.0])
    shifts = [1.0, 0.97, 1.05, 1.01]
    result = cells(sweep("a", [list(values)] * 4), sweep("b", [list(values * s) for s in shifts]), PLAIN)
    error = np.std(np.log(values), ddof=1) * math.sqrt(2 / 3)
    for cell, shift in zip(result, shifts, strict=True):
        assert cell.df == 16
        assert cell.p == pytest.approx(2 * stats.t.sf(abs(math.log(shift)) / error, 16))


def test_a_disturbed_run_does_not_hide_a_regression() -> None:
    base, other = rows(7, [0.003] * 6), rows(8, [0.003] * 6, factor=0.97)
    base[2][1] *= 0.9
    clipped, plain = (cells(sweep("a", base), sweep("b", other), options)[2] for options in (Options(), PLAIN))
    assert (clipped.verdict, clipped.clipped) == ("regressed", 1)
    assert (plain.verdict, plain.clipped) == ("inconclusive", 0)


def test_single_repeats_need_a_history() -> None:
    single, other = sweep("a", [[100.0], [200.0]]), sweep("b", [[90.0], [200.1]])
    found = cells(single, other)
    assert {(cell.verdict, cell.p, cell.interval) for cell in found} == {("not comparable", None, None)}
    assert found[0].reason == "the baseline has one repeat: measure it again, or give a history"
    assert found[0].ratio == pytest.approx(0.9)
    history = (sweep("past", rows(9, [0.004] * 6)),)
    assert [cell.verdict for cell in cells(single, other, Options(history=history))] == ["regressed", "within noise"]


def test_a_history_that_tells_nothing() -> None:
    single = sweep("a", [[100.0], [200.0]])
    for past in ([[1.0, 1.0], [3.0]], [[1.0, 1.1], [3.0]]):  # no variance, and one
        found = cells(single, single, Options(history=(sweep("past", past),)))
        assert {(cell.verdict, cell.reason) for cell in found} == {
            ("not comparable", "it has one repeat, and the history does not tell its noise")
        }


def test_absurd_values_stay_numbers() -> None:
    tiny, huge, wild = sweep("a", [[1e-300] * 2]), sweep("b", [[1e300, 1e299]]), sweep("c", [[1e300, 1e-300]])
    for pair in [(wild, wild), (tiny, huge), (huge, tiny)]:
        json.dumps(compare(*pair, PLAIN).to_dict(), allow_nan=False)
    (cell,) = cells(wild, wild, PLAIN)
    assert cell.verdict == "inconclusive"


def test_one_side_with_a_single_repeat() -> None:
    found = cells(sweep("a", [[100.0, 101.0, 99.0]] * 3), sweep("b", [[100.0, 101.0, 99.0]] * 2 + [[100.0]]))
    assert found[2].reason == "the candidate has one repeat: measure it again, or give a history"
    assert found[2].verdict == "not comparable"


def test_constant_data_carry_no_verdict() -> None:
    constant = [[5.0, 5.0, 5.0]] * 3
    found = cells(sweep("a", constant), sweep("b", [[5.0, 5.0, 5.0], [4.0, 4.0, 4.0], [5.0, 5.0, 5.0]]))
    assert {(cell.verdict, cell.reason) for cell in found} == {
        ("not comparable", "there is no noise to test against: all repeats are equal")
    }


def test_a_constant_cell_among_others_is_as_noisy_as_they_are() -> None:
    base = [*rows(10, [0.004, 0.004, 0.004, 0.006]), [100.0] * 3]
    other = [*rows(11, [0.004, 0.004, 0.004, 0.006]), [100.0] * 3]
    (result,) = compare(sweep("a", base), sweep("b", other)).metrics
    assert result.cells[4].noise == pytest.approx(result.prior_noise)
    assert result.cells[4].verdict == "within noise"


def test_values_that_are_no_positive_numbers_are_left_out_and_named() -> None:
    base = rows(12, [0.004] * 3)
    bad = [list(row) for row in base]
    bad[0][0] = math.nan
    bad[1] = [0.0, -1.0, math.inf]
    result = compare(sweep("a", base), sweep("b", bad))
    found = result.metrics[0].cells
    assert (found[0].candidate.repeats, found[0].verdict) == (2, "within noise")
    assert (found[1].verdict, found[1].reason, found[1].candidate.median) == (
        "not comparable",
        "the candidate has no value",
        None,
    )
    assert result.notes == (
        "b, concurrency=1 isl=8: 1 of 3 values of system_output_throughput_tok_s left out, not a positive number",
        "b, concurrency=2 isl=8: 3 of 3 values of system_output_throughput_tok_s left out, not a positive number",
    )


def test_a_metric_that_one_side_lacks() -> None:
    base = sweep("a", rows(13, [0.004] * 2))
    other = sweep("b", rows(13, [0.004] * 2), metric="ttft_ms.p50")
    found = compare(base, other)
    assert [(one.metric.name, {cell.reason for cell in one.cells}) for one in found.metrics] == [
        ("system_output_throughput_tok_s", {"the candidate has no value"}),
        ("ttft_ms.p50", {"the baseline has no value"}),
    ]
    assert found.count("not comparable") == 4
    assert found.metrics[0].headline is None


def test_cells_of_one_side_are_listed() -> None:
    three, two = sweep("a", rows(14, [0.004] * 3)), sweep("b", rows(14, [0.004] * 2))
    assert compare(three, two).only_baseline == (cell_of({"concurrency": 3, "isl": 8}),)
    assert compare(two, three).only_candidate == (cell_of({"concurrency": 3, "isl": 8}),)


def test_nothing_in_common_is_an_error() -> None:
    base = sweep("a", [[1.0, 2.0]])
    with pytest.raises(RecordError, match=r"^a and b: no cell was measured on both sides$"):
        compare(base, Samples.of("b", [({"other": 1}, {THROUGHPUT.name: 1.0})]))
    with pytest.raises(RecordError, match="a and a: neither side has one of ttft"):
        compare(base, base, Options(metrics=(Metric("ttft", "lower", 0.05),)))


def test_other_hardware_gives_no_verdict_unless_declared() -> None:
    base, other = rows(15, [0.003] * 5), rows(16, [0.003] * 5, factor=0.9)
    a, b = sweep("a", base, identity={"gpu": "B200", "tp": 4}), sweep("b", other, identity={"gpu": "H200", "tp": 4})
    found = compare(a, b)
    assert {(cell.verdict, cell.reason) for cell in found.metrics[0].cells} == {("not comparable", "not the same gpu")}
    assert [str(one) for one in found.differences] == ["gpu: B200 against H200"]
    assert found.metrics[0].cells[0].ratio == pytest.approx(0.9, rel=0.02)
    assert compare(a, b, Options(declared=frozenset({"gpu"}))).count("regressed") == 5


def test_a_context_is_told_and_forbids_nothing() -> None:
    base = rows(17, [0.003] * 5)
    found = compare(sweep("a", base, context={"kernel": 1}), sweep("b", base, context={"kernel": 2}))
    assert (found.count("within noise"), [one.of for one in found.differences]) == (5, ["context"])
