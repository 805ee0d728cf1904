from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.bench.made_up import add_trial, fill, made_up_sweep
from toolkit.bench.markdown import to_markdown
from toolkit.bench.records import SWEEP_FILE, scan_sweep
from toolkit.bench.report import read_sweeps, write_report
from toolkit.bench.summary import summarize
from toolkit.errors import MissingExtraError, RecordError


def test_a_report_on_one_sweep(tmp_path: Path) -> None:
    pytest.importorskip("altair")
    folder, sweep, _ = made_up_sweep(tmp_path)
    fill(folder, sweep)
    report = write_report(folder)
    assert (report.path, report.plot) == (folder / "report.md", folder / "pareto.svg")
    assert report.path.read_text() == to_markdown(summarize([scan_sweep(folder)]), "pareto.svg")
    assert (folder / "pareto.svg").read_text().startswith("<svg")
    before = (report.path.read_bytes(), (folder / "pareto.svg").read_bytes())
    write_report(folder)
    assert (report.path.read_bytes(), (folder / "pareto.svg").read_bytes()) == before


def test_a_report_on_every_sweep_in_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("altair")
    for name, hardware in (("a", "CPU"), ("b", "GPU x")):
        folder, sweep, _ = made_up_sweep(tmp_path, name=name, hardware=hardware)
        fill(folder, sweep)
    report = write_report(tmp_path)
    headings = [line for line in report.path.read_text().splitlines() if line.startswith("## ")]
    assert headings == [
        "## CPU: Made-up CPU for tests, 2 cores, 8 GiB; streamed through Triton's gRPC endpoint",
        "## GPU x: Made-up CPU for tests, 2 cores, 8 GiB; streamed through Triton's gRPC endpoint",
    ]


def test_without_numbers_there_is_no_plot(tmp_path: Path) -> None:
    pytest.importorskip("altair")
    folder, sweep, _ = made_up_sweep(tmp_path)
    add_trial(
        folder, sweep, sweep.plan.points[0], ttft_ms=1, tpot_ms=1, status="failed", error="made-up error", metrics=None
    )
    (folder / "pareto.svg").write_text("of an older report")
    report = write_report(folder)
    assert report.plot is None
    assert not (folder / "pareto.svg").exists()
    assert "made-up error" in report.path.read_text()


def test_nothing_recorded(tmp_path: Path) -> None:
    empty = made_up_sweep(tmp_path / "results")[0]
    for folder in (tmp_path, tmp_path / "absent", tmp_path / "results", empty):
        with pytest.raises(RecordError, match=r"there is no recorded trial. Type: trtkit bench run RECIPE"):
            read_sweeps(folder)


def test_sweeps_without_a_trial_are_not_shown(tmp_path: Path) -> None:
    folder, sweep, _ = made_up_sweep(tmp_path)
    fill(folder, sweep)
    made_up_sweep(tmp_path, name="empty-test-data")
    assert [scan.folder for scan in read_sweeps(tmp_path)] == [folder]


def test_a_damaged_sweep_file(tmp_path: Path) -> None:
    pytest.importorskip("altair")
    folder = made_up_sweep(tmp_path)[0]
    (folder / SWEEP_FILE).write_text("{")
    with pytest.raises(RecordError, match=r"sweep\.json: not a whole SweepRecord record"):
        write_report(tmp_path)
    assert not (tmp_path / "report.md").exists()


@pytest.mark.parametrize("shown", ["the sweep", "the folder of sweeps"])
def test_trials_without_their_sweep_file(tmp_path: Path, shown: str) -> None:
    pytest.importorskip("altair")
    folder, sweep, _ = made_up_sweep(tmp_path)
    fill(folder, sweep)
    whole, whole_sweep, _ = made_up_sweep(tmp_path, name="whole-test-data")
    fill(whole, whole_sweep)
    (folder / SWEEP_FILE).unlink()
    asked = folder if shown == "the sweep" else tmp_path
    with pytest.raises(RecordError) as caught:
        write_report(asked)
    assert str(caught.value) == (
        f"{folder}: sweep.json is missing beside trials/. Put it back, or move the folder away"
    )
    assert not (asked / "report.md").exists()


def test_a_missing_package_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, sweep, _ = made_up_sweep(tmp_path)
    fill(folder, sweep)
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(MissingExtraError):
        write_report(folder)
    assert not (folder / "report.md").exists()
