"""A recipe's workload, read once for a whole sweep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolkit.bench.workload.draw import Synthetic, Trace, Workload
from toolkit.bench.workload.lengths import lengths_of
from toolkit.bench.workload.tokens import Content, content_of
from toolkit.bench.workload.trace import read_trace
from toolkit.engine.text import Tokenizer
from toolkit.recipe.workload import WorkloadSection


@dataclass(frozen=True, slots=True)
class Source:
    """Gives the workload of each point of a sweep."""

    section: WorkloadSection
    content: Content
    trace: Trace | None

    def at(self, isl: int, osl: int) -> Workload:
        """The workload of a point; a trace is the same at every one."""
        if self.trace is not None:
            return self.trace
        return Synthetic(lengths_of(self.section, isl), lengths_of(self.section, osl), self.content)


def open_source(section: WorkloadSection, tokenizer_dir: Path, *, text: Path | None, max_seq_len: int) -> Source:
    """``text`` is the recipe's ``bench.prompts``; without one prompts are random ids of the vocabulary.

    Raises ``CheckpointError`` for a folder without a readable ``tokenizer.json``, and ``RecipeError`` for a text or a
    trace that cannot be used.
    """
    tokenizer = Tokenizer.open(tokenizer_dir)
    content = content_of(tokenizer, text)
    trace = None
    if section.trace is not None:
        specs = read_trace(section.trace, tokenizer.encode, max_seq_len)
        trace = Trace(specs, content, str(section.trace))
    return Source(section, content, trace)
