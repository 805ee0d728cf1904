"""Ask nvidia-smi. Its answers are a user interface, so any of them may be missing, ``[N/A]`` or an error in words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from toolkit.bench.environment.command import Answer, run
from toolkit.bench.environment.devices import Device, Nvidia
from toolkit.bench.environment.version import VERSION

FIELDS = ("index", "name", "uuid", "driver_version", "compute_cap", "memory.total", "memory.free", "mig.mode.current")
QUERY = ("nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits")
REPORT = ("nvidia-smi", "-q", "-d", "MEMORY")  # its head has the CUDA version, which no field has
TIMEOUT_S = 20.0
MIB = 1 << 20
NUMBER = re.compile(r"[0-9]{1,9}")
NOT_ON_PATH = "no nvidia-smi on PATH"
HANGS = f"nvidia-smi did not answer within {TIMEOUT_S:g} s"
UNREADABLE = "nvidia-smi printed a line that is not understood"


def query(timeout_s: float = TIMEOUT_S) -> Nvidia:
    """The GPUs, the driver and its CUDA, or the problem. Raises nothing."""
    try:
        answer = run(QUERY, timeout_s)
        if answer.code is None:
            return Nvidia(problem=HANGS)
        if answer.code != 0:
            return Nvidia(problem=_said(answer))
        nvidia = parse_devices(answer.out)
        report = Answer(0) if nvidia.problem else run(REPORT, timeout_s)
    except FileNotFoundError:
        return Nvidia(problem=NOT_ON_PATH)
    except OSError as error:
        return Nvidia(problem=f"nvidia-smi cannot be started ({error.strerror})")
    return Nvidia(nvidia.devices, nvidia.driver, parse_cuda(report.out), nvidia.problem)


def _said(answer: Answer) -> str:
    """What it complained about in one line; it complains on stdout."""
    words = " ".join((answer.out.strip() or answer.err.strip()).split())
    return f"nvidia-smi: {words[:160]}" if words else f"nvidia-smi ended with exit code {answer.code}"


def parse_devices(text: str) -> Nvidia:
    """The answer to ``QUERY``, memory in MiB."""
    rows = [[value.strip() for value in line.split(",")] for line in text.splitlines() if line.strip()]
    devices = []
    for row in rows:
        if len(row) != len(FIELDS) or not NUMBER.fullmatch(row[0]):
            return Nvidia(problem=f"{UNREADABLE}: {', '.join(row)[:120]}")
        devices.append(_device(row))
    if not devices:
        return Nvidia(problem="nvidia-smi lists no GPU")
    driver = rows[0][FIELDS.index("driver_version")]
    return Nvidia(tuple(devices), driver if VERSION.fullmatch(driver) else None)


def parse_cuda(text: str) -> str | None:
    """``CUDA Version : 13.0`` in the head of ``REPORT``."""
    match = re.search(r"^CUDA (?:UMD )?Version\s*:\s*([0-9]{1,3}\.[0-9]{1,3})", text, re.MULTILINE)
    return match.group(1) if match else None


def _device(row: Sequence[str]) -> Device:
    values = dict(zip(FIELDS, row, strict=True))
    sm = re.fullmatch(r"([0-9]{1,3})\.([0-9])", values["compute_cap"])
    return Device(
        index=int(values["index"]),
        name=values["name"],
        uuid=values["uuid"],
        sm=int(sm.group(1)) * 10 + int(sm.group(2)) if sm else None,
        memory_total=_mib(values["memory.total"]),
        memory_free=_mib(values["memory.free"]),
        mig=values["mig.mode.current"] == "Enabled",
    )


def _mib(value: str) -> int | None:
    return int(value) * MIB if NUMBER.fullmatch(value) else None
