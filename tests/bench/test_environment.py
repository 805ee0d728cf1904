from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from toolkit.bench import environment
from toolkit.bench.canonical import digest
from toolkit.bench.environment import Environment, fingerprint, source_digest, utc_now


def test_the_fingerprint_of_this_machine() -> None:
    found = fingerprint()
    identity = found.identity
    assert identity.hardware == "CPU"
    assert identity.cpu_cores == len(os.sched_getaffinity(0))
    assert identity.software["numpy"] == np.__version__
    assert identity.software["python"] == platform.python_version()
    assert {"trtkit", "tritonclient", "grpcio", "nvidia-pytriton"} <= identity.software.keys()
    assert identity.blas
    assert identity.memory_gib >= 1
    assert found.hardware.startswith(f"{identity.cpu_model}, {identity.cpu_cores} cores")
    assert Environment.model_validate_json(found.model_dump_json()) == found


def test_the_id_is_that_of_the_identity_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    first = fingerprint()
    assert first.env_id == digest(first.identity.model_dump(), 12)
    monkeypatch.setattr(platform, "release", lambda: "another kernel")
    second = fingerprint()
    assert (second.env_id, second.context.kernel) == (first.env_id, "another kernel")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(99)))
    assert fingerprint().env_id != first.env_id


def test_a_blas_that_cannot_be_told_its_threads_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "can_set_threads", lambda: True)
    told = fingerprint()
    monkeypatch.setattr(environment, "can_set_threads", lambda: False)
    free = fingerprint()
    assert free.identity.blas == f"{told.identity.blas}, threads by its own environment"
    assert free.env_id != told.env_id


def test_the_host_is_not_named() -> None:
    assert platform.node() not in json.dumps(fingerprint().model_dump())


def test_cpu_model(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU @ 3: GHz\nprocessor\t: 1\nmodel name\t: Other\n")
    assert environment._cpu_model(cpuinfo) == "Some CPU @ 3: GHz"
    assert environment._cpu_model(tmp_path / "absent") == (platform.processor() or platform.machine())


@pytest.mark.parametrize(
    ("text", "quota", "shown"),
    [("max 100000\n", None, "2 cores,"), ("150000 100000\n", 1.5, "2 cores limited to 1.5,")],
)
def test_cpu_quota(tmp_path: Path, text: str, quota: float | None, shown: str) -> None:
    cpu_max = tmp_path / "cpu.max"
    cpu_max.write_text(text)
    assert environment._cpu_quota(cpu_max) == quota
    assert environment._cpu_quota(tmp_path / "absent") is None
    found = fingerprint()
    identity = found.identity.model_copy(update={"cpu_quota": quota, "cpu_cores": 2})
    assert shown in found.model_copy(update={"identity": identity}).hardware


def test_the_source_digest_covers_names_and_bytes(tmp_path: Path) -> None:
    room, single = tmp_path / "room", tmp_path / "single.py"
    (room / "inner").mkdir(parents=True)
    (room / "inner" / "a.py").write_text("a")
    single.write_text("s")
    first = source_digest([room, single])
    assert re.fullmatch("[0-9a-f]{12}", first)
    (room / "notes.txt").write_text("not code")
    assert source_digest([room, single]) == first
    (room / "inner" / "a.py").rename(room / "inner" / "b.py")
    renamed = source_digest([room, single])
    single.write_text("t")
    assert len({first, renamed, source_digest([room, single])}) == 3


def test_every_measured_part_exists() -> None:
    assert [part for part in environment.MEASURED if not (environment.PACKAGE / part).exists()] == []
    assert "bench/workload" in environment.MEASURED


def test_git_commit(tmp_path: Path) -> None:
    assert environment._git_commit(tmp_path) is None
    (tmp_path / ".git").mkdir()
    assert environment._git_commit(tmp_path) is None
    (tmp_path / ".git").rmdir()
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert environment._git_commit(tmp_path) == head


def test_times_are_utc() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", utc_now())
