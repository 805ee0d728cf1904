from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from toolkit.bench.telemetry.rows import GpuRow, HostRow, gpu_indices, of_gpu, of_host, pack_rows, unpack_rows
from toolkit.errors import RecordError

ROWS = (
    HostRow(1, 1_700_000_000_000_000_000, load_centi=105, busy_ms=20, stolen_ms=0, own_ms=10),
    GpuRow(2, 0, power_mw=350_000, energy_mj=7, reasons=4, foreign=0, unseen=0),
    GpuRow(3, 1),
)
TEXT = """\
device,time_ns,wall_ns,load_centi,busy_ms,stolen_ms,own_ms,mhz,\
power_mw,energy_mj,temperature_c,sm_mhz,memory_mhz,busy_pct,used_mib,reasons,foreign,unseen
host,1,1700000000000000000,105,20,0,10,,,,,,,,,,,
0,2,,,,,,,350000,7,,,,,,4,0,0
1,3,,,,,,,,,,,,,,,,
"""


def test_the_file() -> None:
    data = pack_rows(ROWS)
    assert gzip.decompress(data).decode() == TEXT
    assert data == pack_rows(ROWS)
    assert unpack_rows(data, "x") == ROWS
    assert (gpu_indices(ROWS), of_gpu(ROWS, 1), of_host(ROWS)) == ([0, 1], [ROWS[2]], [ROWS[0]])


def test_a_recorded_file(recorded: Path) -> None:
    data = recorded.read_bytes()
    rows = unpack_rows(data, str(recorded))
    assert (len(of_host(rows)), len(of_gpu(rows, 0)), len(rows)) == (42, 42, 84)
    assert pack_rows(rows) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no gzip",
        pack_rows(ROWS)[:-9],
        gzip.compress(b"a,b\n1,2\n"),
        gzip.compress(TEXT.replace("350000", "much").encode()),
        gzip.compress(TEXT.replace("\n0,2", "\ngpu,2").encode()),
        gzip.compress(TEXT.replace("0,2,,", "0,2,5,").encode()),
        gzip.compress(TEXT.replace("1,3,", "1,,").encode()),
        gzip.compress(TEXT.replace(",0,0\n", ",0,0,9\n").encode()),
        gzip.compress(TEXT.replace(",0,0\n", ",0\n").encode()),
        gzip.compress("é".encode()),
    ],
)
def test_what_is_no_telemetry(data: bytes) -> None:
    with pytest.raises(RecordError, match=r"^telemetry\.csv\.gz: not telemetry"):
        unpack_rows(data, "telemetry.csv.gz")
