"""Llama as a TensorRT-LLM checkpoint: the ranks' files made by NumPy from the actions, against a split of its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.inspection.variants import read_tensors
from tests.models import layouts
from tests.plan.cases import LLAMA_8B, QWEN3_30B, census, census_of, plan_published, tiny, whats, written
from toolkit.checkpoint.census import Census
from toolkit.models.layout import Layout
from toolkit.plan import Action, Plan, make_plan

COMPILED = ("target.backend=tensorrt", "engine.max_seq_len=256")
Arrays = dict[str, np.ndarray]


def made(action: Action, source: Arrays) -> np.ndarray:
    """What the docstring of ``Action`` says of relay and fill."""
    if action.kind == "fill":
        return np.full(action.shape, action.value, "<f4")
    assert action.kind == "relay"
    parts = []
    for name, part in zip(action.inputs, action.slices, strict=True):
        array = source[name]
        if part is not None:
            array = np.moveaxis(np.moveaxis(array, part.axis, 0)[part.begin : part.end], 0, part.axis)
        parts.append(array)
    joined = np.concatenate(parts) if len(parts) > 1 else parts[0]
    return joined.reshape(1) if joined.size == 1 else joined


def files(plan: Plan, source: Arrays) -> dict[str, Arrays]:
    found: dict[str, Arrays] = {}
    for shard in plan.shards:
        arrays = {str(action.output): made(action, source) for action in shard.actions}
        assert len(arrays) == len(shard.actions)
        for action in shard.actions:
            assert arrays[str(action.output)].shape == action.shape
        found[shard.file] = arrays
    return found


def split_by_hand(source: Arrays, heads: int, kv_heads: int, head_dim: int, tp: int, rank: int) -> Arrays:
    """One rank's tensors as TensorRT-LLM's Llama conversion splits them: columns of q/k/v, gate and up by output rows,
    o and down by input columns, embedding and head by vocabulary.
    """
    layers = 1 + max(int(name.split(".")[2]) for name in source if name.startswith("model.layers."))
    mine: Arrays = {
        "transformer.vocab_embedding.weight": np.split(source["model.embed_tokens.weight"], tp)[rank],
        "transformer.ln_f.weight": source["model.norm.weight"],
        "lm_head.weight": np.split(source["lm_head.weight"], tp)[rank],
    }
    for layer in range(layers):
        hf, trt = f"model.layers.{layer}", f"transformer.layers.{layer}"
        mine[f"{trt}.input_layernorm.weight"] = source[f"{hf}.input_layernorm.weight"]
        mine[f"{trt}.post_layernorm.weight"] = source[f"{hf}.post_attention_layernorm.weight"]
        for suffix, name in (("weight", "weight"), ("weight_scale", "weights_scaling_factor")):
            q = source[f"{hf}.self_attn.q_proj.{suffix}"].reshape(heads, head_dim, -1)
            joined = [np.split(q, tp)[rank]]
            for projection in ("k_proj", "v_proj"):
                kv = source[f"{hf}.self_attn.{projection}.{suffix}"].reshape(kv_heads, head_dim, -1)
                copied = np.repeat(kv, max(1, tp // kv_heads), axis=0)
                joined.append(np.split(copied, tp)[rank])
            mine[f"{trt}.attention.qkv.{name}"] = np.concatenate(joined).reshape(-1, q.shape[-1])
            for hf_name, trt_name, axis in (
                ("self_attn.o_proj", "attention.dense", 1),
                ("mlp.gate_proj", "mlp.fc", 0),
                ("mlp.up_proj", "mlp.gate", 0),
                ("mlp.down_proj", "mlp.proj", 1),
            ):
                whole = source[f"{hf}.{hf_name}.{suffix}"]
                mine[f"{trt}.{trt_name}.{name}"] = np.split(whole, tp, axis=axis)[rank]
        for hf_name, trt_name in (
            ("self_attn.q_proj", "attention.qkv"),
            ("self_attn.o_proj", "attention.dense"),
            ("mlp.gate_proj", "mlp.fc"),
            ("mlp.up_proj", "mlp.gate"),
            ("mlp.down_proj", "mlp.proj"),
        ):
            mine[f"{trt}.{trt_name}.weights_scaling_factor_2"] = source[f"{hf}.{hf_name}.weight_scale_2"].reshape(1)
            mine[f"{trt}.{trt_name}.activation_scaling_factor"] = source[f"{hf}.{hf_name}.input_scale"].reshape(1)
    return mine


def counted(source: Census) -> Arrays:
    """Each tensor's elements numbered from 0, so that where every one of them goes can be seen."""
    return {name: np.arange(int(np.prod(info.shape))).reshape(info.shape) for name, info in source.tensors.items()}


def wide() -> Census:
    """8 heads and 2 KV heads, and channels enough for 8 ranks."""
    sizes = {"num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 256}
    config = {**layouts.CASES["llama-nvfp4"]["config"], **sizes}
    family = layouts.case("llama-nvfp4")[0]
    tensors = family.tensors(family.geometry(config, "wide"), Layout("nvfp4", "nvfp4"))
    return census("llama-nvfp4", tensors=tensors, exclude=["lm_head"], config=sizes)


def compile_for(checkpoint: Census, tp: int, source: Arrays) -> dict[str, Arrays]:
    plan = make_plan(tiny(*COMPILED, f"target.parallel.tp={tp}"), checkpoint)
    assert not plan.refusals, whats(plan)
    return files(plan, source)


def check_by_hand(found: dict[str, Arrays], checkpoint: Census, tp: int, source: Arrays) -> None:
    assert list(found) == [f"rank{rank}.safetensors" for rank in range(tp)]
    config = checkpoint.config
    sizes = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    for rank in range(tp):
        wanted = split_by_hand(source, *sizes, tp, rank)
        arrays = found[f"rank{rank}.safetensors"]
        assert arrays.keys() == wanted.keys()
        for name, array in wanted.items():
            assert arrays[name].dtype == array.dtype, name
            assert np.array_equal(arrays[name], array), name


@pytest.mark.parametrize("tp", [1, 2])
def test_modelopt_s_export_is_split_as_by_hand(shared_fixtures: Path, tp: int) -> None:
    folder = shared_fixtures / "tiny-llama-nvfp4-modelopt-0.37"
    source = {name: array for name, (_, array) in read_tensors(folder / "model.safetensors").items()}
    checkpoint = census_of(folder)
    check_by_hand(compile_for(checkpoint, tp, source), checkpoint, tp, source)


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_more_ranks_than_kv_heads_are_split_as_by_hand(tp: int) -> None:
    checkpoint = wide()
    source = counted(checkpoint)
    check_by_hand(compile_for(checkpoint, tp, source), checkpoint, tp, source)


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_every_element_goes_to_one_rank_but_what_all_hold(tp: int) -> None:
    checkpoint = wide()
    source = counted(checkpoint)
    times: dict[str, Counter[int]] = {name: Counter() for name in source}
    for action in make_plan(tiny(*COMPILED, f"target.parallel.tp={tp}"), checkpoint).actions:
        for name, part in zip(action.inputs, action.slices, strict=True):
            alone = Action("relay", (name,), slices=(part,))
            times[name].update(made(alone, source).ravel().tolist())
    for name, counts in times.items():
        module, _, suffix = name.rpartition(".")
        if suffix in ("weight_scale_2", "input_scale") and module.endswith(("k_proj", "v_proj")):
            assert not counts, "equal to q's, which stands for the three"
            continue
        copies = tp if source[name].ndim < 2 else max(1, tp // 2) if module.endswith(("k_proj", "v_proj")) else 1
        assert counts == dict.fromkeys(range(source[name].size), copies), name


def test_the_whole_config(shared_fixtures: Path) -> None:
    """Keys of docs/source/legacy/architecture/checkpoint.md; the sizes are those of the fixture's config.json."""
    checkpoint = census_of(shared_fixtures / "tiny-llama-nvfp4-modelopt-0.37")
    given = checkpoint.config
    plan = make_plan(tiny(*COMPILED, "target.parallel.tp=2"), checkpoint)
    assert plan.json_files == {
        "config.json": {
            "architecture": "LlamaForCausalLM",
            "dtype": "bfloat16",
            "logits_dtype": "float32",
            "vocab_size": given["vocab_size"],
            "hidden_size": given["hidden_size"],
            "intermediate_size": given["intermediate_size"],
            "num_hidden_layers": given["num_hidden_layers"],
            "num_attention_heads": given["num_attention_heads"],
            "num_key_value_heads": given["num_key_value_heads"],
            "head_size": given["head_dim"],
            "hidden_act": "silu",
            "norm_epsilon": given["rms_norm_eps"],
            "position_embedding_type": "rope_gpt_neox",
            "max_position_embeddings": given["max_position_embeddings"],
            "rotary_base": given["rope_theta"],
            "rotary_scaling": given["rope_scaling"],
            "use_parallel_embedding": True,
            "embedding_sharding_dim": 0,
            "mapping": {"world_size": 2, "tp_size": 2, "pp_size": 1},
            "quantization": {
                "quant_algo": "NVFP4",
                "kv_cache_quant_algo": None,
                "group_size": 16,
                "exclude_modules": ["lm_head"],
            },
        }
    }
    assert {copy.file for copy in plan.copies}.isdisjoint({"config.json", "hf_quant_config.json"})
    assert (plan.llm_args, plan.verdict) == (None, "after-change")
    one = make_plan(tiny(*COMPILED), checkpoint).json_files["config.json"]
    assert (one["use_parallel_embedding"], one["mapping"]["world_size"]) == (False, 1)


def test_rope_as_transformers_5_writes_it() -> None:
    rope = {"rope_type": "llama3", "factor": 8.0, "rope_theta": 500000.0}
    plain = {"rope_type": "default", "rope_theta": 500000.0}
    for given, scaling in ((rope, rope), (plain, None)):
        checkpoint = census("llama-nvfp4", exclude=["lm_head"], config={"rope_parameters": given})
        config = make_plan(tiny(*COMPILED), checkpoint).json_files["config.json"]
        assert (config["rotary_base"], config["rotary_scaling"]) == (500000.0, scaling)


def test_scales_of_an_fp8_kv_cache_go_along() -> None:
    """``preprocess_weights`` joins the two to their maximum; without them the engine's KV scales would be missing."""
    plan = make_plan(tiny(*COMPILED), census("llama-nvfp4-fp8-kv", exclude=["lm_head"], kv="FP8"))
    scales = [action for action in plan.actions if "cache_scaling" in str(action.output)]
    for action, of in zip(scales, ("k", "v"), strict=False):
        source = f"model.layers.0.self_attn.{of}_proj.{of}_scale"
        target = f"transformer.layers.0.attention.{of}_cache_scaling_factor"
        assert action == Action("relay", (source,), target, "F32", (1,), "compiled", (None,))
    assert len(scales) == 4
    assert plan.json_files["config.json"]["quantization"]["kv_cache_quant_algo"] == "FP8"


@pytest.mark.parametrize("kv", [None, "FP8"])
@pytest.mark.parametrize("wanted", ["auto", "fp8", "nvfp4"])
def test_memory_and_config_have_the_kv_cache_of_the_checkpoint(kv: str | None, wanted: str) -> None:
    case = "llama-nvfp4-fp8-kv" if kv else "llama-nvfp4"
    source = census(case, exclude=["lm_head"], kv=kv)
    plan = make_plan(tiny(*COMPILED, f"engine.kv_cache_dtype={wanted}"), source)
    if wanted == "auto" or (wanted, kv) == ("fp8", "FP8"):
        assert plan.json_files["config.json"]["quantization"]["kv_cache_quant_algo"] == kv
        assert plan.memory is not None
        assert plan.memory.kv_dtype == ("fp8" if kv else "bf16")
        return
    has = "the checkpoint's scheme is FP8" if kv else "the checkpoint has no KV scheme"
    assert whats(plan) == [f"engine.kv_cache_dtype is {wanted}, but {has}, which the engine is built with"]
    assert plan.refusals[0].ways_out[0] == "Set engine.kv_cache_dtype=auto"


def test_the_compiled_nvfp4_path_is_contested() -> None:
    plan = make_plan(tiny(*COMPILED), census("llama-nvfp4", exclude=["lm_head"]))
    assert plan.contested
    [fact] = [fact for fact in plan.evidence if fact.status == "contested"]
    assert fact.source == "NVIDIA/Model-Optimizer #187"
    assert not make_plan(tiny("engine.max_seq_len=256"), census("llama-nvfp4", exclude=["lm_head"])).contested


def test_a_missing_input_scale_is_filled_in_the_ranks_files() -> None:
    tensors = layouts.case("llama-nvfp4")[2]
    lacking = {name: spec for name, spec in tensors.items() if not name.endswith("input_scale")}
    checkpoint = census("llama-nvfp4", tensors=lacking, exclude=["lm_head"])
    plan = make_plan(tiny(*COMPILED), checkpoint)
    assert written(plan) == written(make_plan(tiny(*COMPILED), census("llama-nvfp4", exclude=["lm_head"])))
    assert {name for action in plan.actions for name in action.inputs} <= lacking.keys()
    filled = [action for action in plan.actions if action.kind == "fill"]
    assert len(filled) == 2 * 5
    assert filled[0] == Action(
        kind="fill",
        inputs=(),
        output="transformer.layers.0.attention.qkv.activation_scaling_factor",
        dtype="F32",
        shape=(1,),
        reason="no-input-scale",
        value=1.0,
    )
    assert plan.reasons.keys() == {"compiled", "no-input-scale"}


def test_a_tied_head_is_the_embedding() -> None:
    plan = make_plan(tiny(*COMPILED), census("llama-nvfp4-tied", exclude=["lm_head"]))
    outputs = {str(action.output): action for action in plan.actions}
    embedding, head = outputs["transformer.vocab_embedding.weight"], outputs["lm_head.weight"]
    assert head.inputs == embedding.inputs == ("model.embed_tokens.weight",)
    assert head.shape == embedding.shape == (320, 64)


def odd_vocabulary() -> Census:
    source = wide()
    tensors = {name: (info.dtype, info.shape) for name, info in source.tensors.items()}
    tensors |= dict.fromkeys(("lm_head.weight", "model.embed_tokens.weight"), ("BF16", (321, 64)))
    return census("llama-nvfp4", tensors=tensors, config={**source.config, "vocab_size": 321})


@pytest.mark.parametrize(
    ("source", "overrides", "what", "way"),
    [
        (
            census("llama-nvfp4-mlp-only"),
            (),
            "trtkit compiles checkpoints with every projection in NVFP4 only",
            "Quantise the BF16 model with ModelOpt first: hf_ptq.py --qformat nvfp4",
        ),
        (
            census("llama-bf16"),
            (),
            "trtkit compiles checkpoints with every projection in NVFP4 only",
            "Quantise the BF16 model with ModelOpt first: hf_ptq.py --qformat nvfp4",
        ),
        (
            census("llama-nvfp4"),
            ("target.weights=bf16",),
            "trtkit compiles NVFP4 weights only, not BF16",
            "Set target.weights=auto",
        ),
        (
            census("llama-nvfp4"),
            ("target.parallel.pp=2",),
            "trtkit splits a compiled engine by tensor parallelism only (target.parallel)",
            "Set target.parallel to {tp: 2}",
        ),
        (
            wide(),
            ("target.parallel.tp=2", "target.parallel.attention_dp=true"),
            "trtkit splits a compiled engine by tensor parallelism only (target.parallel)",
            "Set target.parallel to {tp: 2}",
        ),
        (
            odd_vocabulary(),
            ("target.parallel.tp=2",),
            "tensor parallel 2 does not split the vocabulary of 321 evenly (target.parallel.tp)",
            "Set target.parallel to {tp: 1}",
        ),
    ],
)
def test_what_cannot_be_compiled(source: Census, overrides: tuple[str, ...], what: str, way: str) -> None:
    plan = make_plan(tiny(*COMPILED, *overrides), source)
    assert whats(plan) == [what]
    [refusal] = plan.refusals
    assert refusal.ways_out[0] == way
    assert refusal.evidence.source


def test_biases_are_not_dropped_in_silence() -> None:
    tensors = layouts.case("llama-nvfp4")[2]
    weights = [name for name in tensors if name.endswith("_proj.weight") and "self_attn" in name]
    out = {name.removesuffix("weight") + "bias": ("BF16", tensors[name][1][:1]) for name in weights}
    biased = census("llama-nvfp4", tensors=tensors | out, config={"attention_bias": True})
    assert whats(make_plan(tiny(*COMPILED), biased)) == ["trtkit compiles Llama without biases only"]
    assert not make_plan(tiny("engine.max_seq_len=256"), biased).refusals


@pytest.mark.parametrize("release", ["1.3.0rc21", "1.3.0rc29", "1.4.0rc1"])
def test_after_1_3_0rc20_nothing_is_compiled(release: str) -> None:
    plan = make_plan(tiny(*COMPILED, f"target.release={release}"), census("llama-nvfp4"))
    [refusal] = plan.refusals
    assert refusal.what == f"TensorRT-LLM {release} has no TensorRT backend and no trtllm-build"
    assert refusal.ways_out == (
        "Set target.backend=pytorch: there the checkpoint is the engine",
        "Set target.release=1.3.0rc20, the last that has it",
    )
    assert "tensorrt-backend-removal.md" in refusal.evidence.source
    assert not make_plan(tiny(*COMPILED, "target.release=1.3.0rc20"), census("llama-nvfp4")).refusals


def test_gpt_oss_and_qwen3_are_not_compiled() -> None:
    python = ("Set target.backend=pytorch: there the checkpoint is the engine",)
    gpt_oss = make_plan(tiny(*COMPILED), census("gpt-oss-nvfp4", exclude=["lm_head"]))
    [refusal] = gpt_oss.refusals
    assert refusal.what == "trtllm-build compiles no gpt-oss: its MODEL_MAP lacks GptOssForCausalLM"
    assert refusal.ways_out == python
    assert "MODEL_MAP" in refusal.evidence.source
    qwen = plan_published(QWEN3_30B, "target.backend=tensorrt", layers=1)
    [refusal] = qwen.refusals
    assert refusal.what == "trtkit makes TensorRT-LLM checkpoints for trtllm-build of Llama only, not of qwen3-moe"
    assert (refusal.ways_out, refusal.evidence.source) == (python, gpt_oss.refusals[0].evidence.source)


def test_every_kv_head_has_its_ranks() -> None:
    """8 ranks of Llama-3.1-8B hold one KV head each, in order."""
    plan = plan_published(LLAMA_8B, "target.backend=tensorrt", "target.parallel.tp=8", layers=1)
    qkv = [a for shard in plan.shards for a in shard.actions if str(a.output).endswith("qkv.weight")]
    assert [action.slices[1] for action in qkv] == [action.slices[2] for action in qkv]
    assert [(part.begin, part.end) for action in qkv if (part := action.slices[1])] == [
        (128 * head, 128 * head + 128) for head in range(8)
    ]
    assert {action.shape for action in qkv} == {((4 + 1 + 1) * 128, 2048)}
