"""What is sent at a point: lengths, tokens, traces. All of it is pure but reading the files that a recipe names."""

from toolkit.bench.workload.draw import Drawn, RequestSpec, Synthetic, Trace, Workload, draw, longest_of
from toolkit.bench.workload.lengths import Lengths, Normal, Uniform, draw_lengths, fixed, lengths_of, longest
from toolkit.bench.workload.source import Source, open_source
from toolkit.bench.workload.tokens import Content, Prompt, content_of, from_ids, from_text
from toolkit.bench.workload.trace import read_trace

__all__ = [
    "Content",
    "Drawn",
    "Lengths",
    "Normal",
    "Prompt",
    "RequestSpec",
    "Source",
    "Synthetic",
    "Trace",
    "Uniform",
    "Workload",
    "content_of",
    "draw",
    "draw_lengths",
    "fixed",
    "from_ids",
    "from_text",
    "lengths_of",
    "longest",
    "longest_of",
    "open_source",
    "read_trace",
]
