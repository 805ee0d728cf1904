"""What is sent at a point, and when: lengths, tokens, traces, arrivals. Pure but for the files that a recipe names."""

from toolkit.bench.workload.arrival import Arrival, ClosedLoop, OpenLoop, Replay, arrival_of, due_times
from toolkit.bench.workload.draw import Drawn, RequestSpec, Synthetic, Trace, Workload, draw, longest_of
from toolkit.bench.workload.lengths import Lengths, Normal, Uniform, draw_lengths, fixed, lengths_of, longest
from toolkit.bench.workload.source import Source, open_source
from toolkit.bench.workload.tokens import Content, Prompt, content_of, from_ids, from_text
from toolkit.bench.workload.trace import read_trace

__all__ = [
    "Arrival",
    "ClosedLoop",
    "Content",
    "Drawn",
    "Lengths",
    "Normal",
    "OpenLoop",
    "Prompt",
    "Replay",
    "RequestSpec",
    "Source",
    "Synthetic",
    "Trace",
    "Uniform",
    "Workload",
    "arrival_of",
    "content_of",
    "draw",
    "draw_lengths",
    "due_times",
    "fixed",
    "from_ids",
    "from_text",
    "lengths_of",
    "longest",
    "longest_of",
    "open_source",
    "read_trace",
]
