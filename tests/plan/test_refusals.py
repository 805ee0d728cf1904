"""Why a target does not load a checkpoint, and whether the ways out lead out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.models import layouts
from tests.plan.cases import (
    GPT_OSS_20B,
    GPT_OSS_120B,
    GPT_OSS_120B_NVFP4,
    LLAMA_8B,
    QWEN3_30B,
    census,
    plan_published,
    predicted,
    published,
    tiny,
    whats,
)
from tests.plan.test_goldens import goldens
from toolkit.checkpoint.census import Census
from toolkit.models.layout import Layout
from toolkit.models.registry import FAMILIES
from toolkit.plan import Plan, Refusal, make_plan
from toolkit.trtllm import load_targets

RELEASES, GPUS = list(load_targets().releases), list(load_targets().gpus)
VALUE = re.compile(r"target\.(\w+)=([\w.-]+)")
LAYOUT = re.compile(r"target\.parallel to (\{[^}]*\})")


def plan_cell(model: str, *overrides: str) -> Plan:
    """As the goldens' cell. Two layers of Qwen3 stand for 48: whether it loads does not depend on how many there are,
    and its weights are far from filling any of the GPUs.
    """
    repo, more = goldens.MODELS[model]
    return plan_published(repo, *more, *overrides, layers=2 if repo == QWEN3_30B else None)


def settings(way: str) -> tuple[str, ...]:
    """A way out as overrides of a recipe; none where it is no setting of the target, or more than a recipe's."""
    if found := LAYOUT.search(way):
        return (f"target.parallel={found[1]}",)
    return tuple(f"target.{key}={value}" for key, value in VALUE.findall(way))


def reason(refusal: Refusal) -> str:
    """What is refused, whatever the release and the GPU."""
    text = refusal.what
    for name in sorted((*RELEASES, *GPUS), key=len, reverse=True):
        text = text.replace(name, "…")
    return re.sub(r"SM\d+", "SM…", text)


def check_ways_out(model: str, base: tuple[str, ...], plan: Plan) -> Iterator[str]:
    """Each setting among the ways out, applied alone, must remove the reason; yields what does not."""
    for refusal in plan.refusals:
        assert refusal.ways_out, refusal
        assert refusal.evidence.statement, refusal
        assert refusal.evidence.source, refusal
        for way in refusal.ways_out:
            if not (overrides := settings(way)):
                continue
            after = plan_cell(model, *base, *overrides)
            if reason(refusal) in {reason(other) for other in after.refusals}:
                yield f"{model} {base}: {refusal.what}: {way}"


@pytest.mark.parametrize("model", goldens.MODELS)
def test_ways_out_of_every_cell_lead_out(model: str) -> None:
    failed = []
    seen: set[tuple[object, ...]] = set()
    for release in goldens.RELEASES:
        for gpu in GPUS:
            base = (f"target.release={release}", f"target.gpu={gpu}")
            plan = plan_cell(model, *base)
            # GPUs of one architecture and size of memory refuse alike
            key = (release, load_targets().gpu(gpu).sm, *map(reason, plan.refusals))
            if plan.refusals and key not in seen:
                seen.add(key)
                failed += check_ways_out(model, base, plan)
    assert failed == []


@pytest.mark.parametrize("model", goldens.MODELS)
def test_each_named_gpu_runs_what_the_refused_one_does_not(model: str) -> None:
    """``Run it on one of …``: on each of them the reason is gone, with the newest release that has it all."""
    for gpu in ("h100", "rtx-5090", "dgx-spark"):
        base = ("target.release=1.3.0rc20", f"target.gpu={gpu}")
        for refusal in plan_cell(model, *base).refusals:
            for way in refusal.ways_out:
                for other in way.removeprefix("Run it on one of ").split(", ") if "Run it" in way else ():
                    after = plan_cell(model, base[0], f"target.gpu={other}")
                    assert reason(refusal) not in {reason(found) for found in after.refusals}, (refusal.what, other)


@pytest.mark.parametrize(
    ("repo", "overrides", "refused"),
    [
        (
            GPT_OSS_120B_NVFP4,
            ("target.release=1.0.0",),
            {"TensorRT-LLM 1.0.0 has no gpt-oss model": "Set target.release=1.2.1"},
        ),
        (GPT_OSS_120B_NVFP4, ("target.release=1.1.0",), {}),
        (
            GPT_OSS_120B_NVFP4,
            ("target.release=1.1.0", "target.weights=nvfp4"),
            {"TensorRT-LLM 1.1.0 has no gpt-oss NVFP4 loader": "Set target.release=1.2.1"},
        ),
        (
            GPT_OSS_120B_NVFP4,
            ("target.gpu=h200", "target.weights=nvfp4"),
            {"no MoE backend runs NVFP4 gpt-oss on h200 (SM90)": "Set target.weights=mxfp4"},
        ),
        (
            GPT_OSS_120B,
            ("target.release=1.1.0", "target.gpu=rtx-pro-6000"),
            {
                f"{what} on rtx-pro-6000 (SM120) in TensorRT-LLM 1.1.0": "Set target.release=1.2.0 or later"
                for what in ("no MoE backend runs MXFP4 gpt-oss", "no attention backend runs gpt-oss")
            },
        ),
        (
            GPT_OSS_20B,
            ("target.weights=bf16",),
            {"trtkit makes no BF16 experts from MXFP4 ones": "Set target.weights=mxfp4"},
        ),
        (
            LLAMA_8B,
            ("target.gpu=h100",),
            {"there is no NVFP4 GEMM on h100 (SM90)": "Set target.weights=bf16"},
        ),
        (
            LLAMA_8B,
            ("target.gpu=h100", "target.backend=tensorrt"),
            {"there is no NVFP4 GEMM on h100 (SM90)": "Set target.backend=pytorch and target.weights=bf16"},
        ),
        (
            LLAMA_8B,
            ("target.weights=mxfp4",),
            {"the checkpoint's weights are NVFP4, and MXFP4 cannot be made from them": "Set target.weights=bf16"},
        ),
    ],
)
def test_the_reason_and_the_first_way_out(repo: str, overrides: tuple[str, ...], refused: dict[str, str]) -> None:
    plan = plan_published(repo, *overrides)
    assert {refusal.what: refusal.ways_out[0] for refusal in plan.refusals} == refused
    assert (plan.verdict == "refused") == bool(refused)
    if refused:
        assert (plan.shards, plan.launch, plan.llm_args) == ((), None, None)
        assert plan.why == next(iter(refused))
        assert plan.evidence == tuple(dict.fromkeys(refusal.evidence for refusal in plan.refusals))


def test_qwen3_on_hopper_lacks_both_kernels() -> None:
    plan = plan_published(QWEN3_30B, "target.gpu=h200", layers=1)
    moe, gemm = "no MoE backend runs NVFP4 qwen3-moe on h200 (SM90)", "there is no NVFP4 GEMM on h200 (SM90)"
    assert whats(plan) == [moe, gemm]
    assert not plan_published(QWEN3_30B, "target.gpu=h200", "target.weights=bf16", layers=1).refusals


@pytest.mark.parametrize("gpu", ["rtx-5090", "rtx-pro-6000", "dgx-spark"])
def test_the_cards_of_the_model_card_get_the_truth(gpu: str) -> None:
    """The 20b casts nowhere there, and loads in MXFP4: with open reports of failures, which the plan says."""
    plan = plan_published(GPT_OSS_20B, f"target.gpu={gpu}", "target.release=1.3.0rc20")
    assert (plan.verdict, plan.contested, plan.lossy) == ("loads", True, False)
    assert any("TensorRT-LLM #" in note.source for note in plan.notes)
    cast = plan_published(GPT_OSS_20B, f"target.gpu={gpu}", "target.weights=nvfp4")
    sm = load_targets().gpu(gpu).sm
    assert whats(cast) == [f"no MoE backend runs NVFP4 gpt-oss on {gpu} (SM{sm})"]
    assert cast.refusals[0].ways_out == (
        "Set target.weights=mxfp4",
        "Run it on one of b200, gb200, b300, gb300",
    )


def test_nvfp4_without_a_kernel_becomes_mxfp4_and_says_why() -> None:
    plan = plan_published(GPT_OSS_120B_NVFP4, "target.gpu=h200")
    assert (plan.verdict, plan.lossy, plan.formats) == ("after-change", True, {"attention": "bf16", "ffn": "mxfp4"})
    assert plan.why == "No MoE backend runs NVFP4 gpt-oss on h200 (SM90), but there is one for MXFP4."
    assert "gpt-oss" in plan.evidence[0].statement
    assert plan.evidence[0] == plan_published(GPT_OSS_120B_NVFP4, "target.gpu=h200", "target.weights=nvfp4").evidence[0]


def test_fp8_is_neither_made_nor_changed() -> None:
    source = census("llama-fp8")
    assert make_plan(tiny(), source).formats == {"attention": "fp8", "ffn": "fp8"}
    plan = make_plan(tiny("target.weights=nvfp4"), source)
    assert whats(plan) == ["the checkpoint's weights are FP8, and NVFP4 cannot be made from them"]
    assert plan.refusals[0].ways_out == ("Quantise the BF16 model with ModelOpt first: hf_ptq.py --qformat nvfp4",)


def test_bf16_llama_is_told_how_to_become_nvfp4() -> None:
    plan = make_plan(tiny("target.weights=nvfp4"), census("llama-bf16"))
    assert whats(plan) == ["the checkpoint's weights are BF16, and NVFP4 cannot be made from them"]
    assert plan.refusals[0].ways_out == (
        "Set target.weights=bf16",
        "Quantise the BF16 model with ModelOpt first: hf_ptq.py --qformat nvfp4",
    )


def test_several_reasons_stand_together() -> None:
    plan = plan_published(
        GPT_OSS_20B, "target.weights=nvfp4", "target.release=1.1.0", "target.gpu=h100", "target.parallel.pp=2"
    )
    assert whats(plan) == [
        "TensorRT-LLM 1.1.0 has no gpt-oss NVFP4 loader",
        "no MoE backend runs NVFP4 gpt-oss on h100 (SM90)",
        "gpt-oss has no pipeline parallelism (target.parallel.pp)",
    ]


@pytest.mark.parametrize(
    ("repo", "gpu"), [(LLAMA_8B, "rtx-5090"), (QWEN3_30B, "h200"), (GPT_OSS_120B, "h100"), (GPT_OSS_120B, "dgx-spark")]
)
def test_an_nvfp4_kv_cache_is_sm10x_s(repo: str, gpu: str) -> None:
    base = (f"target.gpu={gpu}", "target.weights=auto" if "gpt" in repo else "target.weights=bf16")
    base = (*base, "target.parallel.tp=2")
    plan = plan_published(repo, *base, "engine.kv_cache_dtype=nvfp4", layers=2)
    [refusal] = plan.refusals
    assert refusal.what.startswith(f"attention has no NVFP4 KV cache on {gpu}")
    assert "#10241" in refusal.evidence.source
    assert refusal.ways_out == ("Set engine.kv_cache_dtype=fp8", "Run it on one of b200, gb200, b300, gb300")
    for way in ("engine.kv_cache_dtype=fp8", "target.gpu=b200"):
        assert not plan_published(repo, *base, "engine.kv_cache_dtype=nvfp4", way, layers=2).refusals


@pytest.mark.parametrize(
    ("gpu", "dtype", "doubtful"), [("b200", "fp8", 0), ("b200", "nvfp4", 1), ("rtx-5090", "fp8", 1)]
)
def test_a_kv_cache_that_no_source_shows_is_noted(gpu: str, dtype: str, doubtful: int) -> None:
    plan = plan_published(GPT_OSS_20B, f"target.gpu={gpu}", f"engine.kv_cache_dtype={dtype}")
    assert len([note for note in plan.notes if "unverified" in note.source]) == doubtful


def bf16_gpt_oss() -> Census:
    """One layer of gpt-oss-20b, as fine-tuning in BF16 leaves it."""
    source, family = predicted(GPT_OSS_20B, 1), FAMILIES["GptOssForCausalLM"]
    config = {key: value for key, value in source.config.items() if key != "quantization_config"}
    tensors = layouts.infos(family.tensors(family.geometry(config, "x"), Layout("bf16", "bf16")))
    return replace(source, config=config, quant=None, tensors=tensors, shards={layouts.SHARD: 0})


def test_attention_sinks_that_a_release_lacks_refuse() -> None:
    """BF16 experts have a kernel there since SM80; attention sinks came with 1.2.0."""
    plain = bf16_gpt_oss()
    on = ("target.gpu=rtx-pro-6000", "target.weights=auto")
    old, new = (make_plan(published(GPT_OSS_20B, *on, f"target.release={r}"), plain) for r in ("1.1.0", "1.2.1"))
    [refusal] = old.refusals
    assert refusal.what == "no attention backend runs gpt-oss on rtx-pro-6000 (SM120) in TensorRT-LLM 1.1.0"
    assert refusal.ways_out[0] == "Set target.release=1.2.0 or later"
    assert not new.refusals
    assert new.contested
    facts = {fact.statement for fact in new.evidence}
    assert load_targets().fact("gpt-oss-bf16-cutlass").statement in facts


def test_a_contested_kernel_without_issues_is_explained_by_its_fact() -> None:
    kernel = next(k for k in load_targets().kernels if k.fact.id == "gpt-oss-bf16-cutlass")
    plan = make_plan(published(GPT_OSS_20B), bf16_gpt_oss())
    assert kernel.fact.statement in {fact.statement for fact in plan.evidence}
    assert "sources disagree on whether CUTLASS (BF16) on SM100 runs it" in {note.what for note in plan.notes}
    assert not any("open issues" in note.what for note in plan.notes)


def test_marlin_is_named_as_doubtful() -> None:
    plan = plan_published(LLAMA_8B, "target.gpu=h100", "target.release=1.4.0rc1")
    [doubtful] = [way for way in plan.refusals[0].ways_out if way.startswith("Doubtful")]
    assert "MARLIN from 1.3.0rc27 on, with nvfp4_gemm_config.allowed_backends=[marlin]" in doubtful


def test_an_accepted_transcode_says_where_the_checkpoint_s_own_format_loads() -> None:
    older = plan_published(GPT_OSS_120B_NVFP4, "target.release=1.1.0")
    assert (older.lossy, older.ways_out) == (True, ("Set target.release=1.2.1",))
    assert not plan_published(GPT_OSS_120B_NVFP4, "target.release=1.2.1").lossy
    card = plan_published(GPT_OSS_120B_NVFP4, "target.gpu=h200")
    assert card.ways_out == ("Run it on one of b200, gb200, b300, gb300",)
    assert plan_published(GPT_OSS_120B_NVFP4).ways_out == ()
