from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.trtllm import texts
from tests.bench.trtllm.test_report_json import REPORT
from tests.bench.trtllm.test_request_json import RECORD
from toolkit.bench.trtllm.argv import PointFiles
from toolkit.bench.trtllm.evidence import gather
from toolkit.bench.trtllm.outcome import Evidence


@pytest.fixture
def files(tmp_path: Path) -> PointFiles:
    return PointFiles(tmp_path)


def test_nothing(files: PointFiles) -> None:
    assert gather(files) == Evidence("", "", None, None, None)


def test_everything(files: PointFiles) -> None:
    files.report.write_text(json.dumps(REPORT))
    files.requests.write_text(json.dumps([RECORD]))
    files.stdout.write_text(texts.V2)
    files.stderr.write_text("x")
    found = gather(files)
    assert found.measurement is not None
    assert found.measurement.source == "report-json"
    assert found.requests is not None
    assert len(found.requests) == 1
    assert (found.stdout, found.stderr, found.fault) == (texts.V2, "x", None)


def test_the_output_stands_in_for_a_file_that_was_not_written(files: PointFiles) -> None:
    files.stdout.write_text(texts.V2)
    found = gather(files)
    assert found.measurement is not None
    assert (found.measurement.source, found.fault) == ("console", None)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_it_does_not_for_a_file_that_is_broken(files: PointFiles, text: str) -> None:
    files.report.write_text(text)
    files.stdout.write_text(texts.V2)
    found = gather(files)
    assert (found.measurement, found.fault) == (None, "report.json: there is no trtllm-bench report in it")


def test_a_cut_file_is_a_fault_and_still_read(files: PointFiles) -> None:
    files.report.write_text(json.dumps(REPORT)[:-20])
    found = gather(files)
    assert found.measurement is not None
    assert found.fault == "report.json: the JSON is cut"


def test_broken_requests(files: PointFiles) -> None:
    files.report.write_text(json.dumps(REPORT))
    files.requests.write_text("[{")
    found = gather(files)
    assert (found.requests, found.fault) == (None, "requests.json: it is not JSON, or it is cut")
