"""Many prompts from a JSON Lines file: read and checked whole, run with bounded concurrency, written in order.

``lines`` (what a line asks for) · ``journal`` (what is done, on disk) · ``run`` (the model is asked)
"""

from toolkit.serving.batch.lines import Conversing, Defaults, Line, Scan, read_lines, scan_lines
from toolkit.serving.batch.run import Generate, Probe, Progress, Summary, run_batch

__all__ = [
    "Conversing",
    "Defaults",
    "Generate",
    "Line",
    "Probe",
    "Progress",
    "Scan",
    "Summary",
    "read_lines",
    "run_batch",
    "scan_lines",
]
