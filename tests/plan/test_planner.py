from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.models import layouts
from tests.plan.cases import (
    B200,
    GPT_OSS_120B_NVFP4,
    census,
    census_of,
    cpu_recipe,
    plan_published,
    tiny,
    written,
)
from toolkit.errors import CheckpointError, PlanError
from toolkit.plan import Copy, make_plan

CPU = ("engine.max_seq_len=256",)


def test_the_cpu_runtime_keeps_everything(sample: Path) -> None:
    source = census_of(sample)
    plan = make_plan(cpu_recipe(), source)
    assert (plan.verdict, plan.counts()) == ("loads", {"keep": len(source.tensors)})
    assert written(plan) == {name: (t.dtype, t.shape) for name, t in source.tensors.items()}
    assert (plan.json_files, plan.llm_args, plan.refusals, plan.confirm) == ({}, None, (), None)
    assert (plan.memory, plan.launch, plan.layouts, plan.kernel) == (None, None, (), None)
    assert plan.formats == {"attention": "nvfp4", "ffn": "nvfp4"}
    assert all(shard.unchanged for shard in plan.shards)
    assert Copy("checkpoint", "tokenizer.json") in plan.copies


@pytest.mark.parametrize("case", ["gpt-oss-nvfp4", "gpt-oss-bf16"])
def test_what_the_cpu_runtime_runs(case: str) -> None:
    assert make_plan(cpu_recipe(*CPU), census(case)).verdict == "loads"


@pytest.mark.parametrize(
    ("case", "stored"),
    [
        ("gpt-oss-mxfp4", "gpt-oss with MXFP4 weights"),
        ("llama-nvfp4", "llama with NVFP4 weights"),
        ("qwen3-moe-bf16", "qwen3-moe with BF16 weights"),
    ],
)
def test_what_it_does_not_run(case: str, stored: str) -> None:
    with pytest.raises(PlanError) as caught:
        make_plan(cpu_recipe(*CPU), census(case))
    hint = "Set target.runtime=tensorrt-llm, target.release and target.gpu"
    assert str(caught.value) == (f"target.runtime: the cpu runtime runs gpt-oss in NVFP4 or BF16, not {stored}. {hint}")


@pytest.mark.parametrize("overrides", [CPU, (*CPU, *B200)])
def test_an_unknown_architecture(overrides: tuple[str, ...]) -> None:
    with pytest.raises(PlanError) as caught:
        make_plan(cpu_recipe(*overrides), census("llama-bf16", config={"architectures": ["MixtralForCausalLM"]}))
    assert str(caught.value) == (
        "llama-bf16/config.json: unknown architecture 'MixtralForCausalLM'. trtkit knows GptOssForCausalLM, "
        "LlamaForCausalLM, Qwen3MoeForCausalLM: set checkpoint.path to such a checkpoint"
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("target.gpu=b20", "target.gpu: unknown GPU 'b20'. Did you mean 'b200'?"),
        (
            "target.release=9",
            "target.release: unknown TensorRT-LLM release '9'. "
            "Known: 1.0.0, 1.1.0, 1.2.0, 1.2.1, 1.3.0rc0 to rc29, 1.4.0rc0, 1.4.0rc1",
        ),
    ],
)
def test_unknown_targets(override: str, expected: str) -> None:
    with pytest.raises(PlanError) as caught:
        make_plan(tiny(override), census("gpt-oss-nvfp4"))
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("changes", "error", "expected"),
    [
        ({"head_dim": 0}, CheckpointError, "gpt-oss-nvfp4/config.json: head_dim is 0, not a positive integer"),
        (
            {"num_hidden_layers": 3},
            CheckpointError,
            "gpt-oss-nvfp4: tensor 'model.layers.2.input_layernorm.weight' is missing. Is the download complete, and",
        ),
        ({"num_hidden_layers": 1}, CheckpointError, "unknown tensor 'model.layers.1."),
        ({"num_local_experts": 9}, CheckpointError, "not BF16 [9, "),
        (
            {"max_position_embeddings": 200},
            PlanError,
            "gpt-oss-nvfp4/config.json, max_position_embeddings: engine.max_seq_len 256 is beyond "
            "the model's context of 200 tokens. Set engine.max_seq_len to at most 200",
        ),
    ],
)
@pytest.mark.parametrize("overrides", [CPU, (*CPU, *B200)], ids=["cpu", "b200"])
def test_configs_that_do_not_fit(
    changes: dict[str, Any], error: type[Exception], expected: str, overrides: tuple[str, ...]
) -> None:
    cut = (
        {"layer_types": layouts.CASES["gpt-oss-nvfp4"]["config"]["layer_types"] * 2}
        if "num_hidden" in str(changes)
        else {}
    )
    with pytest.raises(error) as caught:
        make_plan(cpu_recipe(*overrides), census("gpt-oss-nvfp4", config={**cut, **changes}))
    assert expected in str(caught.value)


def test_a_predicted_plan_is_held_to_the_model_s_context() -> None:
    with pytest.raises(PlanError, match=r"hub:Firworks/gpt-oss-120b-nvfp4.* context of 131072 tokens"):
        plan_published(GPT_OSS_120B_NVFP4, "engine.max_seq_len=131073")
    assert not plan_published(GPT_OSS_120B_NVFP4, "engine.max_seq_len=131072").refusals


def test_a_context_that_the_config_does_not_limit() -> None:
    source = census("llama-nvfp4", config={"max_position_embeddings": None}, exclude=["lm_head"])
    assert not make_plan(tiny("engine.max_seq_len=100000"), source).refusals


def test_which_files_go_along() -> None:
    there = [
        "README.md",
        "SHA256SUMS",
        "generation_config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "x.safetensors",
    ]
    source = census("gpt-oss-nvfp4", exclude=["lm_head"], files=[*there, "model.safetensors.index.json"])
    copies = make_plan(cpu_recipe(*CPU), source).copies
    assert [copy.file for copy in copies] == [
        "config.json",
        "generation_config.json",
        "hf_quant_config.json",
        "model.safetensors.index.json",
        "tokenizer.json",
        "chat_template.jinja",
    ]
    assert {copy.origin for copy in copies} == {"checkpoint"}


def test_the_tokenizer_folder_takes_the_place_of_the_checkpoint_s(sample: Path) -> None:
    source = census_of(sample)
    own = cpu_recipe("checkpoint.tokenizer=words")
    names = ("tokenizer.json", "chat_template.jinja")
    copies = make_plan(own, source, tokenizer_files=("README.md", *names)).copies
    assert [copy.file for copy in copies if copy.origin == "tokenizer"] == list(names)
    assert [copy.file for copy in copies if copy.origin == "checkpoint"] == [
        "config.json",
        "generation_config.json",
        "hf_quant_config.json",
        "model.safetensors.index.json",
    ]
    with pytest.raises(PlanError) as caught:
        make_plan(own, source, tokenizer_files=names[1:])
    hint = "Set checkpoint.tokenizer to a folder that has one"
    assert str(caught.value) == f"words: there is no tokenizer.json. {hint}"


def test_equal_inputs_give_equal_plans_and_digests(sample: Path) -> None:
    plans = [make_plan(cpu_recipe(*extra), census_of(sample)) for extra in (B200, B200, ())]
    assert plans[0] == plans[1]
    assert plans[0].digest == plans[1].digest != plans[2].digest


def test_what_is_only_said_of_a_target_leaves_the_digest(sample: Path) -> None:
    """Where the bundle and the repository go does not change the bundle."""
    plans = [make_plan(cpu_recipe(*B200, *extra), census_of(sample)) for extra in ((), ("engine.output=x",))]
    assert plans[0].launch != plans[1].launch
    assert plans[0].digest == plans[1].digest
    changed = make_plan(cpu_recipe(*B200, "engine.max_batch_size=4"), census_of(sample))
    assert changed.digest != plans[0].digest
