"""``trtkit bench parse``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.bench.trtllm import texts
from toolkit.cli import main

WRONG = texts.V2.replace("125.0000", "250.0000")
CONTRADICTION = "per_gpu_throughput: output tok/s = output tok/s/GPU · GPUs: 250 and 500 ± 0.00015"


def trtkit(*args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["bench", "parse", *args], input=stdin)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("v1.log", texts.V1), ("v2.log", texts.V2), ("wrong.log", WRONG), ("other.log", "hello\n")):
        (tmp_path / name).write_text(text)


def test_a_card() -> None:
    result = trtkit("v2.log")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[:3] == [
        "v2.log: trtllm-bench 1.3.0rc5, console text (v2)",
        "  model     made/up, bfloat16, NVFP4, Pytorch",
        "  world     TP 2, PP 1, EP 2, 64 requests a batch, 2048 tokens a batch",
    ]


def test_json() -> None:
    result = trtkit("--json", "v1.log", "-", stdin=f"{texts.V2}\n{texts.OVERVIEW}")
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert document["schema_version"] == 1
    assert [(report["file"], report["generation"]) for report in document["reports"]] == [
        *(("v1.log", "v1"), ("-", "v2"), ("-", "v2")),
    ]
    report = document["reports"][1]
    assert list(report) == [
        *("file", "violations", "source", "generation", "engine", "world", "request_info", "performance", "dataset"),
        *("machine", "streaming", "decoding", "energy", "checks", "missing", "notes"),
    ]
    assert report["performance"]["system_output_throughput_tok_s"] == 250.0
    assert report["violations"] == []


def test_missing_and_nan_are_warnings() -> None:
    result = trtkit("-", stdin=texts.OVERVIEW.replace("750.0000", "nan"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "  note      performance.system_total_throughput_tok_s is NaN\n" in result.stdout
    assert "  missing   engine, world, request_info, dataset\n" in result.stdout


def test_a_contradiction_is_an_error_that_a_script_sees() -> None:
    result = trtkit("wrong.log")
    assert (result.exit_code, result.stderr) == (1, f"error: wrong.log: {CONTRADICTION}\n")
    assert f"  WRONG     {CONTRADICTION}\n" in result.stdout
    as_json = trtkit("wrong.log", "--json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["reports"][0]["violations"] == ["per_gpu_throughput"]


def test_one_bad_file_does_not_hide_the_others() -> None:
    result = trtkit("other.log", "none.log", ".", "v1.log", "--json")
    assert result.exit_code == 1
    assert [report["file"] for report in json.loads(result.stdout)["reports"]] == ["v1.log"]
    hint = "Give what trtllm-bench printed, or the file of its --report_json"
    assert result.stderr.splitlines() == [
        f"error: other.log: there is no trtllm-bench report in it. {hint}",
        "error: none.log: No such file or directory",
        "error: .: Is a directory",
    ]


def test_usage() -> None:
    assert trtkit().exit_code == 2
