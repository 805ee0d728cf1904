"""Backends that engine.llm_args names, laid to the kernels of the target."""

from __future__ import annotations

import pytest

from tests.plan.cases import GPT_OSS_120B, GPT_OSS_120B_NVFP4, LLAMA_8B, QWEN3_30B, plan_published
from toolkit.errors import PlanError
from toolkit.plan import Plan

MOE = "engine.llm_args.moe_config.backend="


def backend_of(plan: Plan) -> str:
    assert plan.llm_args is not None
    return str(plan.llm_args["moe_config"]["backend"])


def test_another_supported_backend_is_followed_and_said() -> None:
    before, plan = plan_published(GPT_OSS_120B), plan_published(GPT_OSS_120B, MOE + "CUTLASS")
    assert (before.kernel, plan.kernel) == ("TRTLLM (W4A8_MXFP4_MXFP8)", "CUTLASS (W4A8_MXFP4_MXFP8)")
    assert backend_of(plan) == "CUTLASS"
    assert "engine.llm_args takes MoE backend CUTLASS instead of TRTLLM" in [note.what for note in plan.notes]
    assert plan.evidence[0].statement.startswith("CUTLASS runs MXFP4 gpt-oss with MXFP8 activations on SM100")
    assert not plan.contested


def test_a_contested_backend_makes_a_contested_plan() -> None:
    plan = plan_published(GPT_OSS_120B, "target.gpu=h200", MOE + "CUTLASS")
    assert (plan.kernel, plan.contested) == ("CUTLASS (W4A16_MXFP4)", True)
    assert not plan_published(GPT_OSS_120B, "target.gpu=h200").contested


@pytest.mark.parametrize("word", ["TRTLLM", "AUTO"])
def test_the_plan_s_own_backend_changes_nothing_else(word: str) -> None:
    newest = "target.release=1.3.0rc20"
    before, plan = plan_published(GPT_OSS_120B, newest), plan_published(GPT_OSS_120B, newest, MOE + word)
    assert (plan.kernel, plan.evidence) == (before.kernel, before.evidence)
    assert backend_of(plan) == word


@pytest.mark.parametrize(
    ("repo", "overrides", "error"),
    [
        (
            GPT_OSS_120B_NVFP4,
            (MOE + "CUTLASS",),
            "moe_config.backend: MoE backend CUTLASS has no kernel for NVFP4 gpt-oss on b200 (SM100). "
            "Leave it out, or write TRTLLM (MOE_DEVELOPER_GUIDE.md",
        ),
        (
            GPT_OSS_120B,
            (MOE + "TRITON",),
            "moe_config.backend: MoE backend TRITON has no kernel for MXFP4 gpt-oss on b200 (SM100). "
            "Leave it out, or write TRTLLM or CUTLASS (",
        ),
        (
            GPT_OSS_120B,
            (MOE,),
            "moe_config.backend: MoE backend None has no kernel for MXFP4 gpt-oss on b200 (SM100). ",
        ),
        (
            GPT_OSS_120B,
            ("engine.llm_args.moe_config=",),
            "moe_config.backend: MoE backend None has no kernel for MXFP4 gpt-oss on b200 (SM100). ",
        ),
        (
            GPT_OSS_120B,
            (MOE + "TRTLM",),
            "moe_config.backend: TensorRT-LLM 1.2.1 does not take 'TRTLM' for moe_config.backend. Did you mean TRTLLM?",
        ),
        (
            GPT_OSS_120B,
            ("engine.llm_args.attn_backend=FLASHINFER",),
            "attn_backend: gpt-oss needs attention sinks, which only TRTLLM has, not FLASHINFER. Leave it out (",
        ),
    ],
)
def test_a_backend_without_a_kernel_is_refused_with_the_fact(repo: str, overrides: tuple[str, ...], error: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan_published(repo, *overrides)
    assert str(caught.value).startswith(f"engine.llm_args.{error}")


def test_an_attention_backend_that_trtkit_does_not_know_is_noted() -> None:
    plan = plan_published(LLAMA_8B, "engine.llm_args.attn_backend=FLASHINFER")
    assert plan.llm_args is not None
    assert plan.llm_args["attn_backend"] == "FLASHINFER"
    assert "engine.llm_args takes attn_backend FLASHINFER: trtkit knows TRTLLM only" in [n.what for n in plan.notes]
    assert plan_published(GPT_OSS_120B, "engine.llm_args.attn_backend=TRTLLM").kernel is not None


def test_another_key_of_the_section_leaves_the_backend() -> None:
    plan = plan_published(QWEN3_30B, "engine.llm_args.moe_config.max_num_tokens=64", layers=1)
    assert plan.llm_args is not None
    assert plan.llm_args["moe_config"] == {"backend": "CUTLASS", "max_num_tokens": 64}
