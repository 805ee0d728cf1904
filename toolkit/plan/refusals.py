"""Why a TensorRT-LLM target cannot load a gpt-oss NVFP4 checkpoint, each reason with its way out."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.models.gpt_oss import Geometry
from toolkit.models.layout import Layout
from toolkit.plan.types import Refusal
from toolkit.recipe import ParallelSection, TargetSection
from toolkit.trtllm import GptOssNvfp4, Targets

MXFP4_WAY_OUT = "Serve openai/gpt-oss (MXFP4) there, or this checkpoint on a b200, gb200, b300 or gb300"


def refuse(target: TargetSection, geometry: Geometry, layout: Layout, targets: Targets) -> tuple[Refusal, ...]:
    """All reasons, the deciding one first; empty when the target can load the model."""
    return tuple(_reasons(target, geometry, layout, targets))


def _reasons(target: TargetSection, geometry: Geometry, layout: Layout, targets: Targets) -> Iterator[Refusal]:
    assert target.release is not None
    assert target.gpu is not None
    release, gpu, loader = targets.release(target.release), targets.gpu(target.gpu), targets.gpt_oss_nvfp4
    if not release.gpt_oss or release.gpt_oss_nvfp4 == "no":
        missing = "gpt-oss NVFP4 loader" if release.gpt_oss else "gpt-oss model"
        yield Refusal(f"TensorRT-LLM {target.release} has no {missing}", "Set target.release=1.2.1", release.source)
    if gpu.sm not in loader.moe_backend:
        yield Refusal(
            f"no MoE backend of TensorRT-LLM runs NVFP4 gpt-oss on {target.gpu} (SM{gpu.sm})",
            MXFP4_WAY_OUT,
            "can_implement of each MoE backend: TRTLLM has NVFP4 gpt-oss on SM100 and SM103 only",
        )
    if layout.experts != "nvfp4":
        yield Refusal(
            "the checkpoint's experts are BF16, not NVFP4", "Quantise it with ModelOpt first", "tensor dtypes"
        )
    yield from _layout_reasons(target.parallel, geometry, loader)


def _layout_reasons(parallel: ParallelSection, geometry: Geometry, loader: GptOssNvfp4) -> Iterator[Refusal]:
    """Why the parallel layout splits what cannot be split. With attention DP every rank holds whole attention."""
    if parallel.pp > 1 and not loader.pipeline_parallel:
        yield Refusal("gpt-oss has no pipeline parallelism", "Set target.parallel.pp=1", loader.source)
    heads, kv_heads, tp = geometry.heads, geometry.kv_heads, parallel.tp
    if not parallel.attention_dp and not _splits_heads(tp, heads, kv_heads):
        legal = [n for n in range(1, heads + 1) if _splits_heads(n, heads, kv_heads)]
        yield Refusal(
            f"tensor parallel {tp} does not split {heads} attention and {kv_heads} KV heads evenly",
            f"Choose target.parallel.tp among {_listed(legal)}, or set target.parallel.attention_dp=true",
            "tensorrt_llm/_torch: Attention.__init__ (num_heads % tp_size) and duplicate_kv_weight",
        )
    if geometry.experts % parallel.ep:
        legal = [n for n in range(1, geometry.experts + 1) if geometry.experts % n == 0 and tp % n == 0]
        yield Refusal(
            f"expert parallel {parallel.ep} does not split {geometry.experts} experts evenly",
            f"With tp {tp}, choose target.parallel.ep among {_listed(legal)}",
            "tensorrt_llm/_torch: the MoE modules' num_experts % ep_size",
        )
    moe_tp, channels = parallel.moe_tp, geometry.intermediate
    if channels % (moe_tp * loader.group_size):
        groups = channels // loader.group_size
        legal = [n for n in range(1, groups + 1) if groups % n == 0 and tp % n == 0]
        yield Refusal(
            f"MoE tensor parallel {moe_tp} gives {channels / moe_tp:g} channels a rank, "
            f"which splits NVFP4 groups of {loader.group_size}",
            f"Choose tp / ep among {_listed(legal)}: raise target.parallel.ep",
            "loader test of the same layout: 2880 / 8 = 360",
        )


def _splits_heads(tp: int, heads: int, kv_heads: int) -> bool:
    """KV heads are split over the ranks, or copied where there are more ranks than heads."""
    return heads % tp == 0 and (kv_heads % tp == 0 or tp % kv_heads == 0)


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values))
