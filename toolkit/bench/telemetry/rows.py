"""Readings as they were taken, and their file ``telemetry.csv.gz``: whole numbers in the units of their source."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from toolkit.errors import RecordError

TELEMETRY_FILE = "telemetry.csv.gz"
HOST = "host"


@dataclass(frozen=True, slots=True)
class GpuRow:
    """One GPU at ``time_ns`` of the monotonic clock; None where the driver does not say.

    ``power_mw``: of the last second on most GPUs since Ampere (NVML, nvmlDeviceGetPowerUsage). ``energy_mj``: since the
    driver was loaded. ``busy_pct``: share of the driver's last sample period with a kernel running. ``reasons``: NVML's
    bits of what lowers the clocks. ``foreign``: compute processes that are not of the benchmark; ``unseen``: those of
    another PID namespace, which may be anybody's.
    """

    time_ns: int
    index: int
    power_mw: int | None = None
    energy_mj: int | None = None
    temperature_c: int | None = None
    sm_mhz: int | None = None
    memory_mhz: int | None = None
    busy_pct: int | None = None
    used_mib: int | None = None
    reasons: int | None = None
    foreign: int | None = None
    unseen: int | None = None


@dataclass(frozen=True, slots=True)
class HostRow:
    """The host at ``time_ns`` of the monotonic clock, which was ``wall_ns`` of the time of day.

    ``load_centi``: load average of one minute, in hundredths. Milliseconds of CPU time since some beginning, over all
    cores: ``busy_ms`` spent by any process, ``stolen_ms`` taken by the hypervisor, ``own_ms`` by the benchmark and the
    servers that it started. ``mhz``: mean over the cores of this process.
    """

    time_ns: int
    wall_ns: int
    load_centi: int | None = None
    busy_ms: int | None = None
    stolen_ms: int | None = None
    own_ms: int | None = None
    mhz: int | None = None


Row = GpuRow | HostRow
FIELDS = {kind: tuple(field.name for field in fields(kind) if field.name != "index") for kind in (HostRow, GpuRow)}
COLUMNS = ("device", *dict.fromkeys(name for names in FIELDS.values() for name in names))


def pack_rows(rows: Iterable[Row]) -> bytes:
    """The bytes of ``telemetry.csv.gz``; equal rows give equal bytes. ``device`` is ``host`` or a GPU's index."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = asdict(row)
        device = values.pop("index") if isinstance(row, GpuRow) else HOST
        writer.writerow({"device": device, **{name: "" if value is None else value for name, value in values.items()}})
    return gzip.compress(text.getvalue().encode(), mtime=0)


def unpack_rows(data: bytes, where: str) -> tuple[Row, ...]:
    """The rows of ``pack_rows``; ``RecordError`` naming ``where`` for anything else."""
    try:
        reader = csv.DictReader(io.StringIO(gzip.decompress(data).decode("ascii")))
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError("its columns are others")
        return tuple(_row(values) for values in reader)
    except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
        raise RecordError(f"not telemetry: {error}", where=where) from None


def _row(values: dict[str, Any]) -> Row:
    device = values.pop("device")
    kind: type[Row] = HostRow if device == HOST else GpuRow
    numbers = {name: int(value) for name, value in values.items() if value != ""}
    if strange := sorted(numbers.keys() - set(FIELDS[kind])):
        raise ValueError(f"{device} has {', '.join(strange)}")
    return HostRow(**numbers) if kind is HostRow else GpuRow(index=int(device), **numbers)


def of_gpu(rows: Iterable[Row], index: int) -> list[GpuRow]:
    return [row for row in rows if isinstance(row, GpuRow) and row.index == index]


def of_host(rows: Iterable[Row]) -> list[HostRow]:
    return [row for row in rows if isinstance(row, HostRow)]


def gpu_indices(rows: Sequence[Row]) -> list[int]:
    return sorted({row.index for row in rows if isinstance(row, GpuRow)})
