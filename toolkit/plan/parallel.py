"""Which parallel layouts split a model legally, and why another does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from toolkit.models.geometry import Geometry
from toolkit.models.layout import Layout
from toolkit.numerics import nvfp4
from toolkit.plan.cite import cite, note
from toolkit.plan.types import Note, Refusal, Split
from toolkit.recipe import ParallelSection

MAX_GPUS = 8
GROUP = nvfp4.BLOCK
CUTLASS_CHANNELS = 64


@dataclass(frozen=True, slots=True)
class Rules:
    """What limits the layout: the model's sizes, the bundle's formats and whether its loader splits layers."""

    geometry: Geometry
    layout: Layout
    pipeline: bool

    def problems(self, parallel: ParallelSection) -> Iterator[tuple[str, str, str]]:
        """What is wrong, the key to change, and the id of the fact; nothing for a legal layout."""
        geometry, tp = self.geometry, parallel.tp
        if parallel.pp > 1 and not self.pipeline:
            yield "gpt-oss has no pipeline parallelism", "target.parallel.pp", "gpt-oss-nvfp4-pipeline"
        if parallel.pp > geometry.layers:
            what = f"pipeline parallel {parallel.pp} is more than the model's {geometry.layers} layers"
            yield what, "target.parallel.pp", "layers-split"
        if parallel.ep > 1 and not geometry.experts:
            yield f"expert parallel {parallel.ep} on a model without experts", "target.parallel.ep", "experts-split"
            return
        if not parallel.attention_dp and not _splits_heads(tp, geometry.heads, geometry.kv_heads):
            heads = f"{geometry.heads} attention and {geometry.kv_heads} KV heads"
            what = f"tensor parallel {tp} does not split {heads} evenly"
            yield what, "target.parallel.tp", "heads-split"
        if geometry.experts and geometry.experts % parallel.ep:
            what = f"expert parallel {parallel.ep} does not split {geometry.experts} experts evenly"
            yield what, "target.parallel.ep", "experts-split"
        yield from self._groups(parallel)

    def _groups(self, parallel: ParallelSection) -> Iterator[tuple[str, str, str]]:
        geometry = self.geometry
        channels, ranks = geometry.intermediate, parallel.moe_tp if geometry.experts else parallel.tp
        name, key = ("MoE tensor", "target.parallel.ep") if geometry.experts else ("tensor", "target.parallel.tp")
        if self.layout.ffn == "nvfp4" and channels % (ranks * GROUP):
            what = f"{name} parallel {ranks} gives {channels / ranks:g} channels a rank"
            yield f"{what}, which splits NVFP4 groups of {GROUP}", key, "whole-groups"
        elif channels % ranks:
            yield f"{name} parallel {ranks} does not split {channels} channels evenly", key, "whole-groups"
        width = geometry.heads * geometry.head_dim
        if self.layout.attention == "nvfp4" and not parallel.attention_dp and width % (parallel.tp * GROUP):
            what = f"tensor parallel {parallel.tp} gives o_proj {width / parallel.tp:g} channels a rank"
            yield f"{what}, which splits NVFP4 groups of {GROUP}", "target.parallel.tp", "whole-groups"

    def legal(self, gpus: int = MAX_GPUS) -> list[ParallelSection]:
        """Every legal layout without pipeline parallelism on at most ``gpus`` GPUs, powers of two, smallest first."""
        sizes = [1 << power for power in range(gpus.bit_length()) if 1 << power <= gpus]
        return [
            layout
            for tp in sizes
            for ep in (sizes if self.geometry.experts else (1,))
            for attention_dp in ((False, True) if tp > 1 else (False,))
            if tp % ep == 0 and self.is_legal(layout := ParallelSection(tp=tp, ep=ep, attention_dp=attention_dp))
        ]

    def is_legal(self, parallel: ParallelSection) -> bool:
        return next(self.problems(parallel), None) is None


def refuse_layout(parallel: ParallelSection, rules: Rules, fitting: Sequence[Split] = ()) -> Iterator[Refusal]:
    """Each problem with the nearest legal layouts as the way out: those that hold the weights (``fitting``) first."""
    for what, key, fact in rules.problems(parallel):
        every = [split(layout) for layout in rules.legal(max(MAX_GPUS, parallel.tp))]
        legal = sorted(every, key=lambda p: (p not in fitting, p.attention_dp, abs(p.tp - parallel.tp)))
        yield Refusal(f"{what} ({key})", (f"Set {typed(legal[:3])}",), cite(fact))


def channel_notes(parallel: ParallelSection, rules: Rules, backend: str | None) -> Iterator[Note]:
    """Where CUTLASS has fewer channels of packed experts a rank than NVIDIA tunes it for."""
    geometry = rules.geometry
    packed = geometry.experts > 0 and rules.layout.ffn in ("nvfp4", "mxfp4")
    if packed and backend == "CUTLASS" and geometry.intermediate % (parallel.moe_tp * CUTLASS_CHANNELS):
        channels = geometry.intermediate / parallel.moe_tp
        what = f"MoE tensor parallel {parallel.moe_tp} gives {channels:g} channels a rank, no multiple of 64"
        yield note("cutlass-64-channels", f"{what}: prefer expert parallelism (target.parallel.ep) with CUTLASS")


def spoken(layout: ParallelSection | Split) -> str:
    """``tp 4 pp 2 ep 2 attention DP``; what is 1 or false is left out, but tp."""
    sizes = [f"{key} {size}" for key, size in _sizes(layout).items() if size > 1 or key == "tp"]
    return " ".join([*sizes, *(["attention DP"] if layout.attention_dp else [])])


def typed(layouts: Sequence[ParallelSection | Split]) -> str:
    """The layouts as values of a recipe's ``target.parallel``."""
    values = []
    for layout in layouts:
        sizes = [f"{key}: {size}" for key, size in _sizes(layout).items() if size > 1 or key == "tp"]
        values.append("{" + ", ".join([*sizes, *(["attention_dp: true"] if layout.attention_dp else [])]) + "}")
    return f"target.parallel to {' or '.join(values)}"


def _sizes(layout: ParallelSection | Split) -> dict[str, int]:
    return {"tp": layout.tp, "pp": layout.pp if isinstance(layout, ParallelSection) else 1, "ep": layout.ep}


def split(parallel: ParallelSection) -> Split:
    return Split(parallel.tp, parallel.ep, parallel.attention_dp)


def _splits_heads(tp: int, heads: int, kv_heads: int) -> bool:
    return heads % tp == 0 and (kv_heads % tp == 0 or tp % kv_heads == 0)
