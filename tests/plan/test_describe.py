"""A plan as a person reads it, whole: made by hand, so that the words are held and not the data behind them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from tests.plan.cases import GPT_OSS_120B_NVFP4, plan_published
from toolkit.numerics.fidelity import Report
from toolkit.plan.describe import describe, download_line, measured_lines
from toolkit.plan.measure import Measured, Measurement
from toolkit.plan.source import Download
from toolkit.plan.types import (
    Action,
    Copy,
    Evidence,
    Fit,
    Launch,
    Memory,
    Note,
    Plan,
    Refusal,
    ShardPlan,
    Split,
)
from toolkit.trtllm.commands import Command

GIB = 1 << 30
PARALLEL = {"tp": 1, "pp": 1, "ep": 1, "attention_dp": False}
TARGET = {
    "runtime": "tensorrt-llm",
    "release": "1.2.1",
    "gpu": "b200",
    "backend": "pytorch",
    "weights": "auto",
    "parallel": PARALLEL,
}
KEEP = Action("keep", ("a",), "a", "BF16", (4, 8), "same")
MEMORY = Memory(
    gpu=178 * GIB,
    weights=6 * GIB,
    reserve=4 * GIB,
    kv_budget=142 * GIB,
    kv_per_token=65536,
    kv_window=0,
    kv_dtype="fp8",
    fits=(Fit(2048, 1137), Fit(9216, 252)),
)
LOADS = Plan(
    architecture="LlamaForCausalLM",
    target=TARGET,
    verdict="loads",
    why="Every tensor already has the layout that the loader builds.",
    shards=(ShardPlan("model.safetensors", (KEEP, replace(KEEP, output="b"))),),
    formats={"attention": "nvfp4", "ffn": "nvfp4"},
    kernel="CUTLASS (NVFP4)",
    evidence=(Evidence("The GEMM is dispatched on SM100.", "template.h @02499765", "verified", "2026-11-24"),),
    copies=(Copy("checkpoint", "tokenizer.json"),),
    reasons={"same": "The target reads this tensor as it is stored."},
    memory=MEMORY,
    layouts=(Split(1, 1, False), Split(2, 1, False), Split(2, 1, True)),
    launch=Launch(
        {
            "serve": Command(("trtllm-serve", "out/checkpoint", "--config", "out/llm_args.yaml")),
            "dataset": Command(("python3", "make.py"), stdout="dataset.jsonl"),
            "bench": Command(("trtllm-bench", "throughput")),
        },
        {},
        {"TRTLLM_ENABLE_PDL": "1"},
    ),
)
CHANGED = replace(
    LOADS,
    architecture="GptOssForCausalLM",
    target={**TARGET, "parallel": {"tp": 4, "pp": 1, "ep": 2, "attention_dp": True}},
    verdict="after-change",
    why="TensorRT-LLM's gpt-oss loader builds q, k, v and o in BF16.",
    shards=(
        ShardPlan("1.safetensors", (KEEP,)),
        ShardPlan(
            "2.safetensors",
            (
                Action("dequantize", ("q", "q_scale"), "q", "BF16", (2, 32), "bf16-attention"),
                Action("drop", ("q_scale",), reason="unused-scale"),
                Action("drop", ("k_scale",), reason="unused-scale"),
            ),
        ),
    ),
    evidence=(
        Evidence("The loader replaces any list", "#8956", "verified", "2026-11-24"),
        Evidence("1.2.1 should have it", "#8956", "unverified", "2026-11-24"),
    ),
    json_files={"config.json": {}, "hf_quant_config.json": {}},
    copies=(),
    reasons={
        "same": "The target reads this tensor as it is stored.",
        "bf16-attention": "The loader builds it in BF16.",
        "unused-scale": "A BF16 projection has no scale.",
    },
    memory=replace(MEMORY, kv_per_token=18432, kv_window=2359296, kv_dtype="nvfp4"),
    layouts=(Split(1, 1, False), Split(4, 1, False), Split(4, 2, False), Split(4, 2, True), Split(4, 4, True)),
    launch=replace(LOADS.launch, env={}) if LOADS.launch else None,
    confirm="python3 -c 'print(True)'",
)
LOSSY = replace(
    LOADS,
    target={**TARGET, "gpu": "rtx-pro-6000"},
    verdict="after-change",
    why="No MoE backend runs NVFP4 gpt-oss there, but there is one for MXFP4.",
    lossy=True,
    contested=True,
    ways_out=("Serve openai/gpt-oss-120b",),
    predicted=True,
    kernel="CUTLASS (W4A8_MXFP4_MXFP8)",
    notes=(
        Note("CUTLASS on SM120 is in the code, but open issues report that it fails", "NVIDIA/TensorRT-LLM #6892"),
        Note("Measure it."),
    ),
    memory=None,
    layouts=(),
    launch=None,
)
REFUSED = Plan(
    architecture="GptOssForCausalLM",
    target={**TARGET, "parallel": {**PARALLEL, "pp": 2}},
    verdict="refused",
    why="no",
    shards=(),
    refusals=(
        Refusal(
            "TensorRT-LLM 1.0.0 has no gpt-oss model",
            ("Set target.release=1.2.1", "Serve another model"),
            Evidence("There is no gpt-oss before 1.1.0rc0.", "GitHub release 1.1.0rc0", "verified", "2026-11-24"),
        ),
        Refusal(
            "gpt-oss has no pipeline parallelism (target.parallel.pp)",
            ("Set target.parallel to {tp: 1}",),
            Evidence("pp_size == 1 is asserted", "modeling_gpt_oss.py", "inferred"),
        ),
    ),
    notes=(Note("And memory is short"),),
    layouts=(Split(1, 1, False),),
)


def test_a_plan_that_loads_as_it_is() -> None:
    assert describe(LOADS, "llama") == (
        "llama: loads as it is (TensorRT-LLM 1.2.1 on b200, tp 1)\n"
        "  why        Every tensor already has the layout that the loader builds.\n"
        "  fact       The GEMM is dispatched on SM100 [template.h @02499765, 2026-11-24]\n"
        "  keep           2 tensors  The target reads this tensor as it is stored.\n"
        "  output     128 bytes in 1 shard(s)\n"
        "  kernel     CUTLASS (NVFP4)\n"
        "  memory     6.0 GiB of weights on each GPU of 178.0 GiB; 142.0 GiB for the KV cache (fp8), 4.0 GiB assumed "
        "for the rest\n"
        "  KV cache   64.0 KiB a token; fits 1,137 × 2,048 tokens, 252 × 9,216 tokens\n"
        "  layouts    tp 1, tp 2; with attention DP tp 2\n"
        "  serve      TRTLLM_ENABLE_PDL=1 trtllm-serve out/checkpoint --config out/llm_args.yaml\n"
        "  dataset    python3 make.py > dataset.jsonl\n"
        "  bench      TRTLLM_ENABLE_PDL=1 trtllm-bench throughput"
    )


def test_a_plan_that_changes_something() -> None:
    assert describe(CHANGED, "oss") == (
        "oss: loads after a change (TensorRT-LLM 1.2.1 on b200, tp 4, ep 2, attention DP)\n"
        "  why        TensorRT-LLM's gpt-oss loader builds q, k, v and o in BF16.\n"
        "  fact       The loader replaces any list [#8956, 2026-11-24]\n"
        "  fact       1.2.1 should have it [#8956, unverified, 2026-11-24]\n"
        "  dequantize     1 tensors  The loader builds it in BF16.\n"
        "  drop           2 tensors  A BF16 projection has no scale.\n"
        "  keep           1 tensors  The target reads this tensor as it is stored.\n"
        "  rewrite    config.json, hf_quant_config.json\n"
        "  output     192 bytes in 2 shard(s)\n"
        "  kernel     CUTLASS (NVFP4)\n"
        "  memory     6.0 GiB of weights on each GPU of 178.0 GiB; 142.0 GiB for the KV cache (nvfp4), 4.0 GiB assumed "
        "for the rest\n"
        "  KV cache   18.0 KiB a token and 2,304 KiB a request in sliding windows; fits 1,137 × 2,048 tokens, "
        "252 × 9,216 tokens\n"
        "  layouts    tp 1, tp 4 ep 1/2; with attention DP tp 4 ep 2/4\n"
        "  note       no tokenizer.json: serving needs one; set checkpoint.tokenizer to its folder "
        "(gpt-oss: hf download openai/gpt-oss-120b --include 'tokenizer*' --local-dir DIR)\n"
        "  serve      trtllm-serve out/checkpoint --config out/llm_args.yaml\n"
        "  dataset    python3 make.py > dataset.jsonl\n"
        "  bench      trtllm-bench throughput\n"
        "  confirm    in the container, must print True:\n"
        "    python3 -c 'print(True)'"
    )


def test_llm_arguments_and_model_yaml_are_yaml_to_paste() -> None:
    args: dict[str, Any] = {"backend": "pytorch", "kv_cache_config": {"dtype": "fp8", "free_gpu_memory_fraction": 0.85}}
    args |= {f"argument_{index}": index for index in range(9)}
    assert LOADS.launch is not None
    triton = {"model": "my out/checkpoint", **args, "triton_config": {"max_batch_size": 0, "decoupled": True}}
    text = describe(replace(LOADS, llm_args=args, launch=replace(LOADS.launch, triton_model=triton)), "llama")
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("  llm args   {backend: pytorch, "))
    last = next(number for number, line in enumerate(lines) if line.startswith("  triton     "))
    assert last > first + 1, "over several lines"
    assert all(line.startswith(" " * 13) and line[13] != " " for line in lines[first + 1 : last])
    assert yaml.safe_load("\n".join(line[13:] for line in lines[first:last])) == args
    assert lines[last] == (
        "  triton     model.yaml: the llm args and {model: my out/checkpoint, "
        "triton_config: {max_batch_size: 0, decoupled: true}}"
    )
    assert lines[last + 1].startswith("  serve      ")


def test_a_download_is_one_line() -> None:
    asked = Download("hub:a/b", 3, 1_234_567, exact=True)
    assert download_line(asked) == "weights    not here: 1,234,567 bytes in 3 file(s) from hub:a/b"
    predicted = Download("hub:a/b", None, 1_234_567, exact=False)
    assert download_line(predicted) == "weights    not here: about 1,234,567 bytes from hub:a/b"


def test_a_plan_that_loses_and_is_doubted() -> None:
    assert describe(LOSSY, "oss") == (
        "oss: loads after a change, not exactly, contested (TensorRT-LLM 1.2.1 on rtx-pro-6000, tp 1)\n"
        "  predicted  from the published export recipe; no header was read\n"
        "  why        No MoE backend runs NVFP4 gpt-oss there, but there is one for MXFP4.\n"
        "  fact       The GEMM is dispatched on SM100 [template.h @02499765, 2026-11-24]\n"
        "  way out    Serve openai/gpt-oss-120b\n"
        "  keep           2 tensors  The target reads this tensor as it is stored.\n"
        "  output     128 bytes\n"
        "  kernel     CUTLASS (W4A8_MXFP4_MXFP8)\n"
        "  note       CUTLASS on SM120 is in the code, but open issues report that it fails "
        "[NVIDIA/TensorRT-LLM #6892]\n"
        "  note       Measure it"
    )


def test_a_plan_that_is_refused() -> None:
    assert describe(REFUSED, "oss") == (
        "oss: cannot be loaded (TensorRT-LLM 1.2.1 on b200, tp 1, pp 2)\n"
        "  refused    TensorRT-LLM 1.0.0 has no gpt-oss model\n"
        "  fact       There is no gpt-oss before 1.1.0rc0 [GitHub release 1.1.0rc0, 2026-11-24]\n"
        "  way out    Set target.release=1.2.1\n"
        "  way out    Serve another model\n"
        "  refused    gpt-oss has no pipeline parallelism (target.parallel.pp)\n"
        "  fact       pp_size == 1 is asserted [modeling_gpt_oss.py, inferred]\n"
        "  way out    Set target.parallel to {tp: 1}\n"
        "  note       And memory is short\n"
        "  layouts    tp 1"
    )


def test_the_cpu_runtime_needs_no_reasons() -> None:
    plan = replace(LOADS, target={"runtime": "cpu"}, memory=None, layouts=(), launch=None, kernel=None)
    assert describe(plan, "tiny") == (
        "tiny: loads as it is (cpu)\n"
        "  keep           2 tensors  The target reads this tensor as it is stored.\n"
        "  output     128 bytes in 1 shard(s)"
    )


def test_a_compiled_engine_is_called_so() -> None:
    plan = replace(LOADS, target={**TARGET, "backend": "tensorrt"})
    assert describe(plan, "x").splitlines()[0] == (
        "x: loads as it is (TensorRT-LLM 1.2.1 on b200, tp 1, compiled engine)"
    )


@pytest.mark.parametrize(
    ("layouts", "text"),
    [
        ((Split(1, 1, False), Split(8, 8, False)), "tp 1, tp 8 ep 8"),
        ((Split(2, 1, True),), "with attention DP tp 2"),
        ((Split(2, 1, False), Split(2, 2, False), Split(2, 2, True)), "tp 2 ep 1/2; with attention DP tp 2 ep 2"),
    ],
)
def test_layouts_in_one_line(layouts: tuple[Split, ...], text: str) -> None:
    assert f"  layouts    {text}\n" in describe(replace(LOADS, layouts=layouts), "x")


def test_what_was_measured() -> None:
    """Each weight counts once: two actions of one weight are one entry."""
    exact = Report(blocks=1000, exact_blocks=1000, squared_error=0.0, squared_norm=4.0)
    near = Report(blocks=3000, exact_blocks=1000, squared_error=0.01, squared_norm=4.0)
    measured = Measurement(
        (Measured("a", "transcode", near), Measured("b", "transcode", near), Measured("c", "cast", exact))
    )
    assert list(measured_lines(measured)) == [
        "measured   transcode of 2 weights: 33.3333% of 6,000 blocks exact, 4,000 not; relative RMS error 5.000e-02",
        "measured   cast of 1 weights: 100.0000% of 1,000 blocks exact, 0 not; relative RMS error 0.000e+00",
    ]
    assert list(measured_lines(Measurement(()))) == ["measured   no weight changes its number format: nothing is lost"]


def test_a_real_plan_has_no_empty_line_and_no_trailing_blank() -> None:
    for gpu in ("b200", "h200", "rtx-5090"):
        text = describe(plan_published(GPT_OSS_120B_NVFP4, f"target.gpu={gpu}"), "x")
        assert all(line and line == line.rstrip() for line in text.splitlines())
        assert "None" not in text
