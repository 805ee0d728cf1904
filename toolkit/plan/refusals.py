"""Why a TensorRT-LLM target cannot load a gpt-oss NVFP4 checkpoint, each reason with its way out."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.models.gpt_oss import Geometry
from toolkit.models.layout import Layout
from toolkit.plan.types import Refusal
from toolkit.recipe import TargetSection
from toolkit.trtllm import Targets

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
    if target.parallel.pp > 1:
        yield Refusal("gpt-oss has no pipeline parallelism", "Set target.parallel.pp=1", loader.source)
    moe_tp = target.parallel.moe_tp
    if geometry.intermediate % (moe_tp * loader.group_size):
        legal = [n for n in (1, 2, 4, 8) if geometry.intermediate % (n * loader.group_size) == 0]
        yield Refusal(
            f"MoE tensor parallel {moe_tp} gives {geometry.intermediate / moe_tp:g} channels a rank, "
            f"which splits NVFP4 groups of {loader.group_size}",
            f"Choose tp / ep among {', '.join(map(str, legal))}: raise target.parallel.ep",
            "loader test of the same layout: 2880 / 8 = 360",
        )
