"""Which parallel layouts split a model legally, and why another does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from toolkit.models.geometry import Geometry
from toolkit.models.layout import Layout
from toolkit.numerics import nvfp4
from toolkit.plan.types import Evidence, Refusal, Split
from toolkit.recipe import ParallelSection

MAX_GPUS = 8
GROUP = nvfp4.BLOCK
_HEADS = Evidence(
    "attention heads split over tensor-parallel ranks; KV heads split, or are copied where there are more ranks",
    "tensorrt_llm/_torch: Attention.__init__ (num_heads % tp_size) and duplicate_kv_weight",
)
_EXPERTS = Evidence("experts split over expert-parallel ranks", "tensorrt_llm/_torch: num_experts % ep_size")
_GROUPS = Evidence(
    f"a rank's share of an NVFP4 weight is whole groups of {GROUP}, of any other whole channels",
    "loader test of the same layout in SGLang: 2880 / 8 = 360 is rejected",
)
_PIPELINE = Evidence(
    "gpt-oss asserts pp_size == 1 in every version", "modeling_gpt_oss.py: 'Pipeline parallelism is not supported.'"
)
_LAYERS = Evidence("a pipeline rank holds whole layers", "torch.tensor_split over num_hidden_layers", "inferred")


@dataclass(frozen=True, slots=True)
class Rules:
    """What limits the layout: the model's sizes, the bundle's formats and whether its loader splits layers."""

    geometry: Geometry
    layout: Layout
    pipeline: bool

    def problems(self, parallel: ParallelSection) -> Iterator[tuple[str, str, Evidence]]:
        """What is wrong, the key to change, and the rule; nothing for a legal layout."""
        geometry, tp = self.geometry, parallel.tp
        if parallel.pp > 1 and not self.pipeline:
            yield "gpt-oss has no pipeline parallelism", "target.parallel.pp", _PIPELINE
        if parallel.pp > geometry.layers:
            what = f"pipeline parallel {parallel.pp} is more than the model's {geometry.layers} layers"
            yield what, "target.parallel.pp", _LAYERS
        if parallel.ep > 1 and not geometry.experts:
            yield f"expert parallel {parallel.ep} on a model without experts", "target.parallel.ep", _EXPERTS
            return
        if not parallel.attention_dp and not _splits_heads(tp, geometry.heads, geometry.kv_heads):
            heads = f"{geometry.heads} attention and {geometry.kv_heads} KV heads"
            what = f"tensor parallel {tp} does not split {heads} evenly"
            yield what, "target.parallel.tp", _HEADS
        if geometry.experts and geometry.experts % parallel.ep:
            what = f"expert parallel {parallel.ep} does not split {geometry.experts} experts evenly"
            yield what, "target.parallel.ep", _EXPERTS
        yield from self._groups(parallel)

    def _groups(self, parallel: ParallelSection) -> Iterator[tuple[str, str, Evidence]]:
        geometry = self.geometry
        channels, ranks = geometry.intermediate, parallel.moe_tp if geometry.experts else parallel.tp
        name, key = ("MoE tensor", "target.parallel.ep") if geometry.experts else ("tensor", "target.parallel.tp")
        if self.layout.ffn == "nvfp4" and channels % (ranks * GROUP):
            what = f"{name} parallel {ranks} gives {channels / ranks:g} channels a rank"
            yield f"{what}, which splits NVFP4 groups of {GROUP}", key, _GROUPS
        elif channels % ranks:
            yield f"{name} parallel {ranks} does not split {channels} channels evenly", key, _GROUPS
        width = geometry.heads * geometry.head_dim
        if self.layout.attention == "nvfp4" and not parallel.attention_dp and width % (parallel.tp * GROUP):
            what = f"tensor parallel {parallel.tp} gives o_proj {width / parallel.tp:g} channels a rank"
            yield f"{what}, which splits NVFP4 groups of {GROUP}", "target.parallel.tp", _GROUPS

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


def refuse_layout(parallel: ParallelSection, rules: Rules) -> Iterator[Refusal]:
    """Each problem with the nearest legal layouts as the way out: the same number of GPUs first."""
    for what, key, evidence in rules.problems(parallel):
        legal = sorted(rules.legal(max(MAX_GPUS, parallel.tp)), key=lambda p: (p.attention_dp, abs(p.tp - parallel.tp)))
        yield Refusal(f"{what} ({key})", (f"Set {typed(legal[:3])}",), evidence)


def spoken(layout: ParallelSection | Split) -> str:
    """``tp 4 ep 2 attention DP``; what is 1 or false is left out, but tp."""
    ep = [f"ep {layout.ep}"] if layout.ep > 1 else []
    return " ".join([f"tp {layout.tp}", *ep, *(["attention DP"] if layout.attention_dp else [])])


def typed(layouts: Sequence[ParallelSection | Split]) -> str:
    """The layouts as values of a recipe's ``target.parallel``."""
    values = []
    for layout in layouts:
        ep = [f"ep: {layout.ep}"] if layout.ep > 1 else []
        keys = [f"tp: {layout.tp}", *ep, *(["attention_dp: true"] if layout.attention_dp else [])]
        values.append("{" + ", ".join(keys) + "}")
    return f"target.parallel to {' or '.join(values)}"


def split(parallel: ParallelSection) -> Split:
    return Split(parallel.tp, parallel.ep, parallel.attention_dp)


def _splits_heads(tp: int, heads: int, kv_heads: int) -> bool:
    return heads % tp == 0 and (kv_heads % tp == 0 or tp % kv_heads == 0)
