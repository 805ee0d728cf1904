"""Readings of GPUs and host while a trial is measured, and what they say of its numbers."""

from toolkit.bench.telemetry.rows import TELEMETRY_FILE, pack_rows, unpack_rows
from toolkit.bench.telemetry.sampler import Recording, sampling
from toolkit.bench.telemetry.summary import TelemetrySummary, summarise
from toolkit.bench.telemetry.validity import Limits, check_clock_step, check_output_length, check_telemetry

__all__ = [
    "TELEMETRY_FILE",
    "Limits",
    "Recording",
    "TelemetrySummary",
    "check_clock_step",
    "check_output_length",
    "check_telemetry",
    "pack_rows",
    "sampling",
    "summarise",
    "unpack_rows",
]
