from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.preflight.made_up import H100_REPORT, H100_ROW, executable, fake_nvidia_smi
from toolkit.bench.environment.devices import Device, Nvidia
from toolkit.bench.environment.nvidia_smi import parse_cuda, parse_devices, query

MIB = 1 << 20
UUID = "GPU-11111111-2222-3333-4444-555555555555"
H100 = Device(0, "NVIDIA H100 80GB HBM3", UUID, 90, 81559 * MIB, 81079 * MIB)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all of PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_a_real_answer(path: Path) -> None:
    fake_nvidia_smi(path)
    assert query() == Nvidia((H100,), "580.159.04", "13.0")


@pytest.mark.parametrize(
    ("row", "found"),
    [
        (  # unified memory has no size of its own
            "0, NVIDIA GB10, GPU-a, 580.95.05, 12.1, [N/A], [N/A], [N/A]",
            Device(0, "NVIDIA GB10", "GPU-a", 121, None, None),
        ),
        (
            "3, NVIDIA B200, GPU-b, 590.44.01, 10.0, 183359, 182642, Enabled",
            Device(3, "NVIDIA B200", "GPU-b", 100, 183359 * MIB, 182642 * MIB, True),
        ),
        (
            "0, NVIDIA A100, GPU-c, 580.1, [Unknown Error], [Insufficient Permissions], ERR!, [Not Supported]",
            Device(0, "NVIDIA A100", "GPU-c", None, None, None),
        ),
    ],
)
def test_what_it_does_not_know(row: str, found: Device) -> None:
    assert parse_devices(row).devices == (found,)


def test_several_gpus_and_blank_lines() -> None:
    rows = "\n".join(f"{i}, NVIDIA B200, GPU-{i}, 590.44.01, 10.0, 183359, 182642, Disabled\n" for i in range(8))
    found = parse_devices(rows)
    assert [device.index for device in found.devices] == list(range(8))
    assert (found.driver, found.problem) == ("590.44.01", None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "nvidia-smi lists no GPU"),
        ("No devices were found\n", "nvidia-smi printed a line that is not understood: No devices were found"),
        ("0, NVIDIA B200\n", "nvidia-smi printed a line that is not understood: 0, NVIDIA B200"),
        ("[N/A], a, b, c, d, e, f, g", "nvidia-smi printed a line that is not understood: [N/A], a, b, c, d, e, f, g"),
        (
            "²" + H100_ROW[1:20] + "x" * 200,
            f"nvidia-smi printed a line that is not understood: ²{H100_ROW[1:20]}{'x' * 100}",
        ),
    ],
)
def test_lines_that_are_no_gpu(text: str, problem: str) -> None:
    assert parse_devices(text) == Nvidia(problem=problem)


@given(st.text() | st.lists(st.text(), min_size=8, max_size=8).map(lambda values: "7," + ",".join(values[1:])))
def test_any_text_is_gpus_or_a_problem(text: str) -> None:
    found = parse_devices(text)
    assert bool(found.devices) != (found.problem is not None)
    parse_cuda(text)


def test_a_driver_version_that_is_none() -> None:
    assert parse_devices(H100_ROW.replace("580.159.04", "[N/A]")).driver is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (H100_REPORT, "13.0"),
        ("CUDA UMD Version                                       : 13.2\n", "13.2"),
        ("CUDA Version                                           : N/A\n", None),
        ("", None),
    ],
)
def test_the_cuda_version(text: str, version: str | None) -> None:
    assert parse_cuda(text) == version


def test_no_nvidia_smi(path: Path) -> None:
    assert query() == Nvidia(problem="no nvidia-smi on PATH")


def test_one_that_is_no_program(path: Path) -> None:
    (path / "nvidia-smi").write_bytes(b"\x00\x01")
    (path / "nvidia-smi").chmod(0o755)
    assert query() == Nvidia(problem="nvidia-smi cannot be started (Exec format error)")


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (  # as driver 580 says it of an index that is not there
            "No devices were found\n",
            "nvidia-smi: No devices were found",
        ),
        (
            "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95\n",
            "nvidia-smi: Failed to initialize NVML: Driver/library version mismatch NVML library version: 580.95",
        ),
        ("", "nvidia-smi ended with exit code 6"),
    ],
)
def test_one_that_fails(path: Path, said: str, problem: str) -> None:
    fake_nvidia_smi(path, query=said, code=6)
    assert query() == Nvidia(problem=problem)


def test_one_that_hangs_is_killed_with_its_children(path: Path) -> None:
    executable(path / "nvidia-smi", f"/bin/sleep 600 &\necho $! > {path}/child\nwait")
    assert query(timeout_s=0.5) == Nvidia(problem="nvidia-smi did not answer within 20 s")
    child = Path(f"/proc/{(path / 'child').read_text().strip()}/stat")
    # a signal is sent at once and takes effect when its process next runs
    deadline = time.monotonic() + 10
    while _runs(child):
        assert time.monotonic() < deadline, "the child outlives it"


def _runs(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_report_that_hangs_leaves_the_gpus(path: Path) -> None:
    executable(path / "nvidia-smi", f"case $1 in --query-gpu=*) printf '{H100_ROW}' ;; *) exec /bin/sleep 600 ;; esac")
    assert query(timeout_s=0.5) == Nvidia((H100,), "580.159.04", None)
