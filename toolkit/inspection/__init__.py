"""What a checkpoint is and what is wrong with it, in any architecture, without a GPU and without reading weights."""

from toolkit.inspection.finding import Finding
from toolkit.inspection.inspection import Inspection, inspect, scalar_findings, with_values
from toolkit.inspection.source import inspect_source
from toolkit.inspection.text import to_text
from toolkit.inspection.values import inspect_values

__all__ = [
    "Finding",
    "Inspection",
    "inspect",
    "inspect_source",
    "inspect_values",
    "scalar_findings",
    "to_text",
    "with_values",
]
