"""The simulation of the comparison, as it is typed; its figures are not asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def type_it(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / "benchmarks" / "compare_power.py"), *options],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        check=False,
    )


def test_a_table_and_one_json_line(root: Path) -> None:
    first, second = (type_it(root, "--sweeps", "1", "--seed", "3") for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    report = json.loads(first.stdout.splitlines()[-1])
    assert report == json.loads(second.stdout.splitlines()[-1])
    assert (report["benchmark"], report["sweeps"], report["seed"], report["fdr"]) == ("compare_power", 1, 3, 0.1)
    assert set(report["met"]) == {"false", "noisiest", "power, all", "power, one in 5"}
    assert len(report["shares"]) == 7
    for methods in report["shares"].values():
        assert list(methods) == ["compare", "unclipped", "Welch", "pooled SD"]
        assert all(0 <= share <= 1 for figures in methods.values() for share in figures.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--sweeps", "0"), "--sweeps must be at least 1"), (("--fdr", "1"), "--fdr must lie between 0 and 1")],
)
def test_options_that_make_no_sense(root: Path, options: tuple[str, ...], message: str) -> None:
    done = type_it(root, *options)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, f"compare_power.py: error: {message}")
