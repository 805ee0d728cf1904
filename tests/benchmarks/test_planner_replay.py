"""The replay of the planner, as it is typed."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

COLUMNS = (
    "system,backend,backend_version,isl,osl,conc,tp_size,pp_size,attention_dp_size,moe_tp_size,moe_ep_size,"
    "ttft_ms,tpot_ms,date"
)


def row(
    conc: object, tpot: object, *, tp: object = 1, ttft: object = 0.0, date: str = "2026-01-01", osl: int = 10
) -> str:
    return f"b200,trtllm,1.2,1024,{osl},{conc},{tp},1.0,1,{tp},1,{ttft},{tpot},{date}"


def table(*rows: str) -> str:
    return "\n".join((COLUMNS, *rows, ""))


def type_it(root: Path, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / "benchmarks" / "planner_replay.py"), str(path), *options],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        check=False,
    )


def replay(root: Path, path: Path, *options: str) -> tuple[str, dict[str, Any]]:
    """The card and the last line."""
    done = type_it(root, path, *options)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, json.loads(done.stdout.splitlines()[-1])


def write(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_published_table(root: Path, shared_fixtures: Path) -> None:
    card, report = replay(root, shared_fixtures / "inferencex_gpt_oss_120b_b200.csv")
    assert report["measured_share"] <= 0.55
    assert report["hypervolume_recovered"] >= 0.97
    assert report["median_curve_error"] <= 0.02
    assert report["met"] == dict.fromkeys(("measured_share", "hypervolume_recovered", "median_curve_error"), True)
    assert card.startswith("106 rows, 103 points in 4 groups, strategy frontier\n")
    assert [line[:32].rstrip() for line in card.splitlines()[3:8]] == [
        "b200_sxm trtllm 1024/1024",
        "b200_sxm trtllm 1024/8192",
        "b200_sxm vllm 1024/1024",
        "b200_sxm vllm 1024/8192",
        "all",
    ]


def test_noise_and_thinning_are_repeatable(root: Path, shared_fixtures: Path) -> None:
    path = shared_fixtures / "inferencex_gpt_oss_120b_b200.csv"
    options = ("--noise", "0.05", "--thin", "0.7", "--seed", "3")
    first, report = replay(root, path, *options)
    assert replay(root, path, *options)[0] == first
    assert report["hypervolume_recovered"] > 0.9
    assert report["measured_share"] < 0.6


def test_the_order_of_rows_changes_nothing(root: Path, tmp_path: Path) -> None:
    rows = [row(users, 5 + users / 10 + tp, tp=tp) for tp in (1, 2, 4) for users in (1, 4, 16, 64)]
    one = replay(root, write(tmp_path, table(*rows)))
    assert replay(root, write(tmp_path, table(*reversed(rows)))) == one


def test_the_whole_grid_recovers_everything(root: Path, tmp_path: Path) -> None:
    rows = [row(users, 10 + users, tp=tp) for tp in (1, 2) for users in (1, 2, 4)]
    assert replay(root, write(tmp_path, table(*rows)), "--strategy", "grid")[1] == {
        "benchmark": "planner_replay",
        "strategy": "grid",
        "groups": 1,
        "measured_share": 1.0,
        "hypervolume_recovered": 1.0,
        "median_curve_error": 0.0,
        "median_point_error": None,
        "worst": {
            "measured_share": 1.0,
            "hypervolume_recovered": 1.0,
            "curve_error": 0.0,
            "median_point_error": None,
        },
        "met": {"measured_share": False, "hypervolume_recovered": True, "median_curve_error": True},
    }


def test_figures_worked_out_by_hand(root: Path, tmp_path: Path) -> None:
    """One layout, rising to 3 users; the planner gets two of three: the ends, (100, 100) and (50, 150)."""
    path = write(tmp_path, table(row(1, 10), row(2, 16), row(3, 20)))
    card, report = replay(root, path)
    assert report["measured_share"] == pytest.approx(2 / 3, abs=1e-4)
    whole = 100 * 100 + 62.5 * 25 + 50 * 25
    assert report["hypervolume_recovered"] == pytest.approx((100 * 100 + 50 * 50) / whole, abs=1e-4)
    # log-log lines from (50, 150) over (62.5, 125) to (100, 100), and without the middle
    assert 0 < report["median_curve_error"] < 0.05
    assert report["worst"]["curve_error"] == report["median_curve_error"]
    assert "2" in card


def test_the_newest_rows_of_a_point_count_and_its_releases_are_one(root: Path, tmp_path: Path) -> None:
    old, new = row(1, 99, date="2025-01-01"), row(1, 10, date="2026-02-01").replace("1.2", "1.3")
    twice = (row(1, 9, date="2026-02-01"), row(1, 11, date="2026-02-01"))
    rest = (row(2, 15), row(4, 20))
    plain = replay(root, write(tmp_path, table(new, *rest)))
    for rows in ((old, new, *rest), (new, old, *rest), (old, *twice, *rest)):
        card, report = replay(root, write(tmp_path, table(*rows)))
        assert card.splitlines()[0] == f"{len(rows)} rows, 3 points in 1 groups, strategy frontier"
        assert (card.splitlines()[1:], report) == (plain[0].splitlines()[1:], plain[1])


def test_other_columns_and_their_order_do_not_matter(root: Path, tmp_path: Path) -> None:
    text = table(row(1, 10), row(2, 15), row(4, 20))
    plain = replay(root, write(tmp_path, text))
    rows = list(csv.DictReader(io.StringIO(text)))
    file = io.StringIO()
    writer = csv.DictWriter(file, [*reversed(COLUMNS.split(",")), "precision"], lineterminator="\r\n")
    writer.writeheader()
    writer.writerows([one | {"precision": "fp4"} for one in rows])
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xef\xbb\xbf" + file.getvalue().encode())
    assert replay(root, path) == plain


def test_groups_of_one_point_beside_others(root: Path, tmp_path: Path) -> None:
    _, report = replay(root, write(tmp_path, table(row(1, 10), row(1, 10, osl=20), row(2, 11, osl=20))))
    assert report["groups"] == 2


GOOD = row(1, 10)
BAD = [
    ("", "no column system, backend, backend_version"),
    (COLUMNS + "\n", "fewer than two points: nothing to plan"),
    (table(GOOD), "fewer than two points: nothing to plan"),
    (table(GOOD, GOOD), "fewer than two points: nothing to plan"),
    (table(GOOD, row(2, 15)).replace("tpot_ms", "tpot"), "no column tpot_ms"),
    (table(GOOD, row(2, "fast")), "line 3: tpot_ms is 'fast', not a number from 0"),
    (table(GOOD, row(2, "nan")), "line 3: tpot_ms is 'nan', not a number from 0"),
    (table(GOOD, row(2, "")), "line 3: tpot_ms is '', not a number from 0"),
    (table(GOOD, row(2, 0)), "line 3: tpot_ms is 0"),
    (table(GOOD, row(2, 15, ttft=-1)), "line 3: ttft_ms is '-1', not a number from 0"),
    (table(GOOD, row(0, 15)), "line 3: conc is '0', not a number from 1"),
    (table(GOOD, row(2.5, 15)), "line 3: conc is '2.5', not a whole number"),
    (table(GOOD, row(2, 15, tp="two")), "line 3: tp_size is 'two', not a number from 0"),
    (table(GOOD, row(2, 15, osl=0)), "line 3: osl is '0', not a number from 1"),
    (table(GOOD, "b200,trtllm"), "line 3 has not as many fields as there are columns"),
    (table(GOOD, row(2, 15) + ",more"), "line 3 has not as many fields as there are columns"),
    (table(GOOD, 'b200,"trt'), "is not CSV in UTF-8"),
]


@pytest.mark.parametrize(("text", "words"), BAD, ids=range(len(BAD)))
def test_a_table_that_cannot_be_used(root: Path, tmp_path: Path, text: str, words: str) -> None:
    expect_one_line(type_it(root, write(tmp_path, text)), words)


def test_a_file_that_cannot_be_read(root: Path, tmp_path: Path) -> None:
    expect_one_line(type_it(root, tmp_path / "absent.csv"), "cannot be read: No such file or directory")
    (tmp_path / "table.csv").write_bytes(b"\xff\xfe\x00")
    expect_one_line(type_it(root, tmp_path / "table.csv"), "is not CSV in UTF-8")


@pytest.mark.parametrize("option", [("--noise", "x"), ("--thin", "2"), ("--strategy", "luck"), ("--thin", "0")])
def test_options_that_make_no_sense(root: Path, tmp_path: Path, option: Sequence[str]) -> None:
    done = type_it(root, write(tmp_path, table(GOOD, row(2, 15))), *option)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert option[0] in done.stderr


def expect_one_line(done: subprocess.CompletedProcess[str], words: str) -> None:
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
