"""The benchmark of the client, as it is typed, with a load that takes a second. No time is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_both_sides_get_all_responses_and_the_last_line_is_json(root: Path) -> None:
    options = ["--rate", "20", "--streams", "4", "--requests", "4", "--tokens", "2", "--repeats", "1"]
    done = subprocess.run(
        [sys.executable, str(root / "benchmarks" / "client_overhead.py"), *options, "--most-behind", "1"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(root)},
        check=True,
    )
    figures = json.loads(done.stdout.splitlines()[-1])
    assert set(figures) == {
        "environment",
        "task",
        "bare_percent",
        "runner_percent",
        "extra_percent",
        "extra_percent_quartiles",
        "extra_us_per_response",
        "repeats",
    }
    assert figures["task"] == {"rate": 20, "streams": 4, "requests": 4, "tokens": 2}
    assert figures["repeats"] == 1
    assert min(figures["bare_percent"], figures["runner_percent"]) > 0
