"""Every defect, put into an export of the real ModelOpt or a made one, is found: it and nothing else above info."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.inspection.variants import GPT_OSS, LLAMA, QWEN3_MOE, Variant, made
from toolkit.inspection import Finding, inspect_source, to_text
from toolkit.models.layout import Layout
from toolkit.numerics import bf16, fp8

Change = Callable[[Variant], None]
EXPERTS = "model.layers.0.mlp.experts."
Q = "model.layers.0.self_attn.q_proj."
KV = ("model.layers.0.self_attn.k_proj.k_scale", "model.layers.0.self_attn.v_proj.v_scale")


@pytest.fixture
def gpt_oss(shared_fixtures: Path) -> Variant:
    return Variant.of(shared_fixtures / "tiny-gpt-oss-nvfp4-modelopt-0.37")


@pytest.fixture
def mlp_only(shared_fixtures: Path) -> Variant:
    return Variant.of(shared_fixtures / "tiny-gpt-oss-nvfp4-mlponly-modelopt-0.37")


@pytest.fixture
def gpt_oss_bf16(shared_fixtures: Path) -> Variant:
    return Variant.of(shared_fixtures / "tiny-gpt-oss-bf16")


@pytest.fixture
def llama(shared_fixtures: Path) -> Variant:
    return Variant.of(shared_fixtures / "tiny-llama-nvfp4-modelopt-0.37")


@pytest.fixture
def llama_bf16(shared_fixtures: Path) -> Variant:
    return Variant.of(shared_fixtures / "tiny-llama-bf16")


def inspected(variant: Variant, tmp_path: Path) -> tuple[Finding, ...]:
    return inspect_source(str(variant.write(tmp_path / "m"))).findings


def above_info(findings: tuple[Finding, ...]) -> list[Finding]:
    return [finding for finding in findings if finding.severity != "info"]


def the_one(variant: Variant, tmp_path: Path) -> Finding:
    """The only finding above info."""
    (finding,) = above_info(inspected(variant, tmp_path))
    return finding


def the_info(variant: Variant, tmp_path: Path, id: str) -> Finding:
    """The finding of that id, where none is above info."""
    findings = inspected(variant, tmp_path)
    assert above_info(findings) == []
    (finding,) = (each for each in findings if each.id == id)
    return finding


def untranspose(variant: Variant, source: Variant) -> None:
    """As ModelOpt 0.35 had it: block maxima along the last axis of the un-transposed [E, in, out]."""
    for name in [name for name in variant.tensors if name.endswith("_weight_scale")]:
        stem = name.removesuffix("_weight_scale")
        weight = bf16.to_f32(source.tensors[stem][1])
        scale_2 = variant.tensors[stem + "_weight_scale_2"][1]
        amax = np.abs(weight.reshape(*weight.shape[:2], -1, 16)).max(axis=-1)
        variant.tensors[name] = ("F8_E4M3", fp8.encode_e4m3(amax / (np.float32(6) * scale_2)))


def test_untransposed_expert_scales(gpt_oss: Variant, gpt_oss_bf16: Variant, tmp_path: Path) -> None:
    untranspose(gpt_oss, gpt_oss_bf16)
    gpt_oss.set_version("0.35.1")
    finding = the_one(gpt_oss, tmp_path)
    where = f"model.safetensors, tensor '{EXPERTS}down_proj_weight_scale'"
    assert (finding.id, finding.severity, finding.where) == ("untransposed-expert-scales", "error", where)
    assert finding.detail == (
        "4 tensors of expert block scales hold maxima along out, not along in (the first is [4, 96, 4]): the defect of "
        "ModelOpt 0.35.0 and 0.35.1. The packed weights are right"
    )
    assert "checkpoint.bf16" in finding.repair


@pytest.mark.parametrize(("stem", "count"), [("", "12 tensors"), (EXPERTS + "down_proj_", "1 tensor"), (Q, "1 tensor")])
def test_missing_input_scale(gpt_oss: Variant, tmp_path: Path, stem: str, count: str) -> None:
    for name in [n for n in gpt_oss.tensors if n.endswith("input_scale") and n.startswith(stem)]:
        del gpt_oss.tensors[name]
    finding = the_one(gpt_oss, tmp_path)
    assert (finding.id, finding.severity) == ("missing-input-scale", "error")
    assert finding.where.endswith("weight_scale_2'")
    assert finding.detail.startswith(f"{count} missing, the first 'model.layers.0.")


@pytest.mark.parametrize(
    "gone", [Q + "weight_scale_2", Q + "weight_scale", EXPERTS + "down_proj_weight_scale", EXPERTS + "gate_up_proj"]
)
def test_a_module_that_is_not_whole(gpt_oss: Variant, tmp_path: Path, gone: str) -> None:
    del gpt_oss.tensors[gone]
    finding = the_one(gpt_oss, tmp_path)
    assert (finding.id, finding.severity) == ("unknown-format", "error")
    assert finding.detail.startswith("1 module in no format that trtkit knows: the first has ")


@pytest.mark.parametrize("name", [Q + "weight", EXPERTS + "down_proj"])
def test_scales_of_another_group_size(gpt_oss: Variant, tmp_path: Path, name: str) -> None:
    scale = name + "_weight_scale" if name.endswith("down_proj") else name + "_scale"
    array = gpt_oss.tensors[scale][1]
    gpt_oss.tensors[scale] = ("F8_E4M3", array[:, ::2].copy())
    finding = the_one(gpt_oss, tmp_path)
    assert (finding.id, finding.severity) == ("block-scale-shape", "error")
    assert finding.where == f"model.safetensors, tensor {name!r}"


def rename(variant: Variant) -> None:
    variant.tensors["model.layers.0.self_attn.sink"] = variant.tensors.pop("model.layers.0.self_attn.sinks")


def lose(variant: Variant) -> None:
    del variant.tensors["model.norm.weight"]


def promise_more(variant: Variant) -> None:
    variant.config["num_hidden_layers"] = 3


def widen(variant: Variant) -> None:
    variant.config["hidden_size"] = 128


def stop_saying(variant: Variant) -> None:
    del variant.config["num_key_value_heads"]


@pytest.mark.parametrize("change", [rename, lose, promise_more, widen, stop_saying])
def test_tensors_that_do_not_fit_the_architecture(gpt_oss: Variant, tmp_path: Path, change: Change) -> None:
    change(gpt_oss)
    finding = the_one(gpt_oss, tmp_path)
    assert (finding.id, finding.severity) == ("does-not-fit", "error")


def test_a_defect_with_its_own_finding_does_not_hide_what_does_not_fit(gpt_oss: Variant, tmp_path: Path) -> None:
    del gpt_oss.tensors[Q + "input_scale"]
    lose(gpt_oss)
    found = above_info(inspected(gpt_oss, tmp_path))
    assert [(finding.id, finding.detail[:30]) for finding in found] == [
        ("missing-input-scale", "1 tensor missing, the first 'm"),
        ("does-not-fit", "tensor 'model.norm.weight' is "),
    ]


def test_an_unknown_architecture(gpt_oss: Variant, tmp_path: Path) -> None:
    gpt_oss.config["architectures"] = ["MambaForCausalLM"]
    finding = the_info(gpt_oss, tmp_path, "unknown-architecture")
    assert finding.detail.startswith("trtkit does not know the tensors of MambaForCausalLM")


def test_no_hf_quant_config(gpt_oss: Variant, tmp_path: Path) -> None:
    gpt_oss.quant_config = None
    finding = the_one(gpt_oss, tmp_path)
    assert (finding.id, finding.severity) == ("missing-quant-config", "warning")


def test_nothing_says_that_it_is_quantised(gpt_oss: Variant, tmp_path: Path) -> None:
    gpt_oss.quant_config = None
    del gpt_oss.config["quantization_config"]
    finding = the_one(gpt_oss, tmp_path)
    assert (finding.id, finding.severity) == ("missing-quant-config", "error")


@pytest.mark.parametrize(
    ("key", "value", "difference"),
    [
        ("quant_algo", "NVFP4_AWQ", "algorithm 'NVFP4_AWQ' and 'NVFP4'"),
        ("exclude_modules", ["lm_head", "model.embed_tokens"], "only one excludes model.embed_tokens"),
        ("kv_cache_quant_algo", "FP8", "KV cache 'FP8' and None"),
    ],
)
def test_the_two_files_disagree(gpt_oss: Variant, tmp_path: Path, key: str, value: object, difference: str) -> None:
    assert gpt_oss.quant_config is not None
    gpt_oss.quant_config["quantization"][key] = value
    finding = the_one(gpt_oss, tmp_path)
    assert (finding.id, finding.severity, finding.where) == ("quant-configs-disagree", "warning", "config.json")
    assert finding.detail == f"hf_quant_config.json and quantization_config in config.json differ: {difference}"


def test_a_duplicate_alone_is_no_disagreement(gpt_oss: Variant, tmp_path: Path) -> None:
    gpt_oss.set_version("0.39.0")
    gpt_oss.set_excludes(["lm_head", "lm_head"])
    finding = the_info(gpt_oss, tmp_path, "duplicate-excludes")
    assert finding.detail == "the exclude list repeats lm_head; ModelOpt 0.39 writes lm_head twice"


@pytest.mark.parametrize(("version", "gone"), [("0.29.0", ()), ("0.33.1", ("quant_method",))])
def test_config_json_of_older_versions(llama: Variant, tmp_path: Path, version: str, gone: tuple[str, ...]) -> None:
    llama.set_version(version)
    if gone:
        del llama.config["quantization_config"]["quant_method"]
        del llama.config["quantization_config"]["config_groups"]["group_0"]["targets"]
    else:
        del llama.config["quantization_config"]
    finding = the_info(llama, tmp_path, "incomplete-inline-config")
    assert finding.where == "config.json"


def test_another_algorithm_than_the_tensors(llama: Variant, tmp_path: Path) -> None:
    assert llama.quant_config is not None
    llama.quant_config["quantization"]["quant_algo"] = "FP8"
    llama.config["quantization_config"]["quant_algo"] = "FP8"
    finding = the_one(llama, tmp_path)
    assert (finding.id, finding.severity) == ("quant-algo-disagrees", "error")
    assert finding.detail == "the quantisation is said to be FP8, but the tensors are nvfp4"


def test_json_of_a_quantised_export_beside_other_weights(llama: Variant, llama_bf16: Variant, tmp_path: Path) -> None:
    llama.tensors = llama_bf16.tensors
    found = above_info(inspected(llama, tmp_path))
    assert [(finding.id, finding.severity) for finding in found] == [
        ("quant-algo-disagrees", "error"),
        ("unlisted-linear", "error"),
    ]


def test_group_size(llama: Variant, tmp_path: Path) -> None:
    llama.set_group_size(32)
    finding = the_one(llama, tmp_path)
    assert (finding.id, finding.severity, finding.where) == ("group-size", "error", "hf_quant_config.json")
    assert finding.detail == "group_size is 32, but the tensors have one block scale for 16 weights"
    assert finding.repair == "Set group_size to 16 in both JSON files"


def test_a_repair_of_group_size_goes_by_the_shapes(tmp_path: Path) -> None:
    variant = Variant.of_export("llama-w4a8-nvfp4-fp8")
    assert variant.quant_config is not None
    variant.quant_config["quantization"]["group_size"] = 16
    finding = the_one(variant, tmp_path)
    assert (finding.id, finding.repair) == ("group-size", "Set group_size to 32 in both JSON files")


def test_the_algorithm_tells_the_group_size(tmp_path: Path) -> None:
    variant = Variant.of_export("llama-w4a8-nvfp4-fp8")
    variant.set_algorithm("NVFP4")
    finding = the_one(variant, tmp_path)
    assert (finding.id, finding.severity) == ("block-scale-shape", "error")
    assert finding.detail == "7 modules: block scales [128, 8] are not one for 16 weights of [128, 128]"


@pytest.mark.parametrize("family", ["GptOssForCausalLM", "MadeUpForCausalLM"])
def test_misshapen_scales_of_mxfp4(tmp_path: Path, family: str) -> None:
    variant = made(GPT_OSS, Layout("bf16", "mxfp4"))
    variant.config["architectures"] = [family]
    variant.config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    variant.tensors[EXPERTS + "down_proj_scales"] = ("U8", np.zeros((4, 64, 2), np.uint8))
    finding = the_one(variant, tmp_path)
    assert finding.id == "block-scale-shape"
    assert finding.detail == "1 module: block scales [4, 64, 2] are not one for 32 weights of [4, 64, 3, 16]"


@pytest.mark.parametrize("inline", [True, False])
def test_packed_tensors_of_which_the_json_names_no_algorithm(llama: Variant, tmp_path: Path, inline: bool) -> None:
    """``quant_method`` is "modelopt": the name of a tool."""
    llama.set_algorithm(None)
    llama.quant_config = None if inline else llama.quant_config
    errors = [each for each in inspected(llama, tmp_path) if each.severity == "error"]
    assert [each.id for each in errors] == ["quant-algo-disagrees"]
    assert errors[0].detail == "the JSON names no quant_algo, but the tensors are nvfp4"


def entry_lost(variant: Variant) -> None:
    assert variant.quant_config is not None
    del variant.quant_config["quantization"]["quantized_layers"][Q[:-1]]


def entry_of_another_format(variant: Variant) -> None:
    assert variant.quant_config is not None
    variant.quant_config["quantization"]["quantized_layers"][Q[:-1]] = {"quant_algo": "NVFP4"}


def entry_of_what_is_not_quantised(variant: Variant) -> None:
    assert variant.quant_config is not None
    variant.quant_config["quantization"]["quantized_layers"]["lm_head"] = {"quant_algo": "FP8"}


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (entry_lost, "fp8, not unquantised"),
        (entry_of_another_format, "fp8, not NVFP4"),
        (entry_of_what_is_not_quantised, "bf16, not FP8"),
    ],
)
def test_mixed_precision_that_is_another_mix(tmp_path: Path, change: Change, first: str) -> None:
    variant = Variant.of_export("llama-mixed")
    change(variant)
    finding = the_one(variant, tmp_path)
    assert (finding.id, finding.severity) == ("quantized-layers-disagree", "error")
    assert finding.detail == f"1 module stored otherwise than quantized_layers says: the first is {first}"


def test_mixed_precision_without_layers(tmp_path: Path) -> None:
    variant = Variant.of_export("llama-mixed")
    assert variant.quant_config is not None
    del variant.quant_config["quantization"]["quantized_layers"]
    finding = the_one(variant, tmp_path)
    assert (finding.id, finding.severity) == ("quantized-layers-disagree", "warning")


def test_a_mix_with_another_algorithm_is_not_compared(tmp_path: Path) -> None:
    variant = Variant.of_export("llama-mixed")
    assert variant.quant_config is not None
    variant.quant_config["quantization"]["quantized_layers"][Q[:-1]] = {"quant_algo": "FP8_PER_CHANNEL_PER_TOKEN"}
    finding = the_info(variant, tmp_path, "not-compared")
    assert finding.detail == (
        "format FP8_PER_CHANNEL_PER_TOKEN is not compared with what LlamaForCausalLM has; trtkit plan does not take it"
    )


@pytest.mark.parametrize("entry", [Q[:-1], "model.layers.0.self_attn*", "*.q_proj", "model.layers.0.self_attn"])
def test_excluded_but_packed(llama: Variant, tmp_path: Path, entry: str) -> None:
    llama.set_excludes(["lm_head", entry])
    finding = the_one(llama, tmp_path)
    assert (finding.id, finding.severity) == ("excluded-but-quantised", "error")


def test_bf16_projections_that_are_not_listed(llama: Variant, llama_bf16: Variant, tmp_path: Path) -> None:
    others = {name: value for name, value in llama.tensors.items() if ".self_attn." not in name}
    llama.tensors = others | {n: value for n, value in llama_bf16.tensors.items() if ".self_attn." in n}
    finding = the_one(llama, tmp_path)
    assert (finding.id, finding.severity) == ("unlisted-linear", "error")
    assert finding.detail.startswith(
        "8 projections stored unquantised but not on the exclude list: model.layers.*.self"
    )


def test_gpt_oss_attention_that_is_not_listed_loads_all_the_same(mlp_only: Variant, tmp_path: Path) -> None:
    mlp_only.set_excludes(["lm_head"])
    finding = the_one(mlp_only, tmp_path)
    assert (finding.id, finding.severity) == ("unlisted-linear", "warning")


@pytest.mark.parametrize("value", [0.0, -0.5, math.nan, math.inf])
@pytest.mark.parametrize(
    ("name", "id"),
    [
        (Q + "weight_scale_2", "bad-tensor-scale"),
        (EXPERTS + "gate_up_proj_weight_scale_2", "bad-tensor-scale"),
        (Q + "input_scale", "bad-input-scale"),
        (EXPERTS + "down_proj_input_scale", "bad-input-scale"),
    ],
)
def test_scalars_that_no_quantiser_writes(gpt_oss: Variant, tmp_path: Path, name: str, id: str, value: float) -> None:
    gpt_oss.set_scalar(name, value)
    finding = the_one(gpt_oss, tmp_path)
    assert (finding.id, finding.severity) == (id, "error")
    assert finding.where == f"model.safetensors, tensor {name!r}"
    assert f"the first is {value}" in finding.detail


def add_kv_scales(variant: Variant, value: float) -> None:
    assert variant.quant_config is not None
    for layer in range(2):
        for name in KV:
            variant.tensors[name.replace(".0.", f".{layer}.")] = ("F32", np.array(value, "<f4"))
    variant.quant_config["quantization"]["kv_cache_quant_algo"] = "FP8"
    scheme = {"dynamic": False, "num_bits": 8, "type": "float"}
    variant.config["quantization_config"]["kv_cache_scheme"] = scheme


def test_kv_scales(llama: Variant, tmp_path: Path) -> None:
    add_kv_scales(llama, 1.0)
    finding = the_info(llama, tmp_path, "kv-scales-one")
    assert finding.detail == "4 KV-cache scales, each exactly 1.0: ModelOpt 0.37 raises smaller ones to 1.0"


def test_kv_scales_of_other_versions_and_values(llama: Variant, tmp_path: Path) -> None:
    add_kv_scales(llama, 0.0056)
    assert "kv-scales-one" not in {finding.id for finding in inspected(llama, tmp_path)}
    add_kv_scales(llama, 1.0)
    llama.set_version("0.47.0")
    assert "kv-scales-one" not in {finding.id for finding in inspected(llama, tmp_path)}


def test_kv_scales_of_some_layers(llama: Variant, tmp_path: Path) -> None:
    add_kv_scales(llama, 0.01)
    del llama.tensors[KV[0]]
    finding = the_one(llama, tmp_path)
    assert (finding.id, finding.severity) == ("kv-scales-partial", "warning")
    missing = "model.layers.*.self_attn.k_scale"
    assert finding.detail == f"1 KV-cache scale missing beside the 3 that are there: {missing}"


def test_a_kv_scale_that_is_zero(llama: Variant, tmp_path: Path) -> None:
    add_kv_scales(llama, 0.0)
    finding = the_one(llama, tmp_path)
    assert (finding.id, finding.severity) == ("bad-kv-scale", "error")


def test_an_uncalibrated_quantiser(gpt_oss: Variant, tmp_path: Path) -> None:
    gpt_oss.set_scalar(EXPERTS + "down_proj_input_scale", np.float32(0.5) / np.float32(2688))
    finding = the_one(gpt_oss, tmp_path)
    assert (finding.id, finding.severity) == ("uncalibrated-input-scale", "warning")


def copy_input_scale(variant: Variant) -> None:
    for layer in range(2):
        prefix = EXPERTS.replace(".0.", f".{layer}.")
        variant.tensors[prefix + "down_proj_input_scale"] = variant.tensors[prefix + "gate_up_proj_input_scale"]


@pytest.mark.parametrize(
    ("version", "severity"), [("0.41.0", "warning"), ("0.45.0", "warning"), ("0.46.0", "info"), ("0.40.0", "info")]
)
def test_a_copied_input_scale(gpt_oss: Variant, tmp_path: Path, version: str, severity: str) -> None:
    gpt_oss.set_version(version)
    copy_input_scale(gpt_oss)
    (finding,) = (each for each in inspected(gpt_oss, tmp_path) if each.id == "copied-input-scale")
    assert finding.severity == severity
    assert finding.where == f"model.safetensors, tensor '{EXPERTS}down_proj_input_scale'"


def test_input_scales_that_are_all_1_are_no_copies(gpt_oss: Variant, tmp_path: Path) -> None:
    gpt_oss.set_version("0.45.0")
    for name in [name for name in gpt_oss.tensors if name.endswith("input_scale")]:
        gpt_oss.set_scalar(name, 1.0)
    found = inspected(gpt_oss, tmp_path)
    assert {finding.id for finding in found} == {"packed-attention", "unlisted-unquantised"}


@pytest.mark.parametrize("name", [Q + "weight_scale_2", Q + "input_scale", "model.layers.1.mlp.up_proj.weight_scale_2"])
def test_unequal_scales_of_what_is_fused(llama: Variant, tmp_path: Path, name: str) -> None:
    llama.set_scalar(name, 2.0)
    finding = the_one(llama, tmp_path)
    assert (finding.id, finding.severity) == ("unequal-fused-scales", "warning")
    assert finding.detail.startswith(f"1 group with different {name.rpartition('.')[2]}")


def test_input_scales_shared_over_experts(tmp_path: Path) -> None:
    excludes = ["lm_head", "model.embed_tokens", "model.layers.0.mlp.gate", "model.layers.1.mlp.gate"]
    variant = made(QWEN3_MOE, Layout("nvfp4", "nvfp4"), quant_algo="NVFP4", group_size=16, exclude_modules=excludes)
    for name in [n for n in variant.tensors if n.startswith(EXPERTS) and n.endswith("down_proj.input_scale")]:
        variant.set_scalar(name, 0.75)
    finding = the_info(variant, tmp_path, "shared-input-scale")
    assert finding.where == f"model.safetensors, tensor '{EXPERTS}0.down_proj.input_scale'"
    assert finding.detail.startswith("1 layer with one down_proj input scale for all experts")


def test_compressed_tensors(tmp_path: Path) -> None:
    variant = made(LLAMA, Layout("nvfp4", "nvfp4"))
    renamed = {"weight_scale_2": "weight_global_scale", "input_scale": "input_global_scale"}
    for name in list(variant.tensors):
        stem, _, role = name.rpartition(".")
        if role in renamed:
            dtype, array = variant.tensors.pop(name)
            variant.tensors[f"{stem}.{renamed[role]}"] = (dtype, array.reshape(1))
        elif variant.tensors[name][0] == "U8":
            variant.tensors[f"{stem}.weight_packed"] = variant.tensors.pop(name)
    variant.config["quantization_config"] = {"quant_method": "compressed-tensors", "ignore": ["lm_head"]}
    finding = the_info(variant, tmp_path, "foreign-format")
    assert finding.detail == "7 modules in the layout of compressed-tensors (weight_packed), not of ModelOpt"
    variant.tensors["model.layers.0.mlp.up_proj.weight_global_scale"] = ("F32", np.zeros(1, "<f4"))
    assert the_one(variant, tmp_path).id == "bad-tensor-scale"


def test_no_tokenizer(gpt_oss: Variant, tmp_path: Path) -> None:
    gpt_oss.tokenizer = False
    finding = the_info(gpt_oss, tmp_path, "missing-tokenizer")
    assert finding.where == "tokenizer.json"
    assert finding.detail == "there is no tokenizer.json; ModelOpt's export writes none, and serving needs one"


def test_an_empty_exclude_list_of_gpt_oss(gpt_oss: Variant, llama: Variant, tmp_path: Path) -> None:
    """TensorRT-LLM's loader replaces a list only if it has entries; Llama has no such loader."""
    gpt_oss.set_excludes([])
    finding = the_one(gpt_oss, tmp_path)
    assert (finding.id, finding.severity, finding.where) == ("empty-excludes", "warning", "hf_quant_config.json")
    llama.set_excludes([])
    assert "empty-excludes" not in {each.id for each in inspected(llama, tmp_path / "llama")}


def test_a_head_that_is_not_listed(gpt_oss: Variant, tmp_path: Path) -> None:
    gpt_oss.set_excludes(["model.embed_tokens"])
    finding = the_one(gpt_oss, tmp_path)
    assert (finding.id, finding.severity) == ("unlisted-head", "warning")
    assert finding.where == "model.safetensors, tensor 'lm_head.weight'"


def test_a_gate_of_qwen3_moe_that_is_not_listed(tmp_path: Path) -> None:
    excludes = ["lm_head", "model.layers.0.mlp.gate"]
    variant = made(QWEN3_MOE, Layout("nvfp4", "nvfp4"), quant_algo="NVFP4", group_size=16, exclude_modules=excludes)
    finding = the_one(variant, tmp_path)
    assert (finding.id, finding.where) == (
        "unlisted-head",
        "model.safetensors, tensor 'model.layers.1.mlp.gate.weight'",
    )


def test_a_kv_scheme_that_the_tensors_do_not_have(gpt_oss: Variant, tmp_path: Path) -> None:
    assert gpt_oss.quant_config is not None
    gpt_oss.quant_config["quantization"]["kv_cache_quant_algo"] = "FP8"
    gpt_oss.config["quantization_config"]["kv_cache_scheme"] = {"dynamic": False, "num_bits": 8, "type": "float"}
    finding = the_info(gpt_oss, tmp_path, "kv-scales-missing")
    assert finding.detail == "the JSON says the KV cache is FP8, but there is no k_scale or v_scale; a loader takes 1.0"


def test_kv_scales_of_which_the_json_says_nothing(gpt_oss: Variant, tmp_path: Path) -> None:
    for name in KV:
        gpt_oss.tensors[name] = ("F32", np.array(0.01, "<f4"))
    finding = the_one(gpt_oss, tmp_path)
    assert (finding.id, finding.severity) == ("kv-scheme-unsaid", "warning")
    assert finding.detail == "2 KV-cache scales, but the JSON says nothing of the KV cache: they are not used"


@pytest.mark.parametrize(
    ("file", "severity"),
    [
        ("model-00001-of-00002.safetensors", "warning"),
        ("other.safetensors", "warning"),
        ("consolidated.safetensors", "info"),
        ("adapter_model.safetensors", "info"),
    ],
)
def test_a_file_that_is_not_of_the_checkpoint(gpt_oss: Variant, tmp_path: Path, file: str, severity: str) -> None:
    folder = gpt_oss.write(tmp_path / "m")
    (folder / file).write_bytes(b"")
    (finding,) = (each for each in inspect_source(str(folder)).findings if each.id == "unindexed-file")
    assert (finding.severity, finding.where) == (severity, file)
    assert finding.detail == f"1 safetensors file beside model.safetensors: {file}"


def test_a_file_that_the_index_does_not_name(shared_fixtures: Path, tmp_path: Path) -> None:
    source = shared_fixtures / "tiny-gpt-oss-nvfp4-sharded-modelopt-0.37"
    for path in source.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "other.safetensors").write_bytes(b"")
    (finding,) = above_info(inspect_source(str(tmp_path)).findings)
    assert finding.detail == "1 safetensors file that the index does not name: other.safetensors"


@pytest.mark.parametrize(
    "inline", [{"quant_method": "modelopt_fp4"}, {"quant_method": "x", "producer": {"name": "modelopt"}}]
)
def test_every_name_of_modelopts_block(gpt_oss: Variant, tmp_path: Path, inline: dict[str, object]) -> None:
    gpt_oss.quant_config = None
    gpt_oss.config["quantization_config"] |= inline
    assert the_one(gpt_oss, tmp_path).id == "missing-quant-config"


def test_text_of_a_file_cannot_pass_for_a_finding(tmp_path: Path) -> None:
    """Line breaks, ANSI and OSC sequences wherever a person reads a checkpoint's own words."""
    llama = Variant.of_export("llama-nvfp4-kvfp8")
    evil = "\x1b[2J\x1b]0;t\x07\nerror   fake: x\r\u202e" + "y" * 300
    assert llama.quant_config is not None
    llama.config["architectures"] = [evil]
    llama.quant_config["producer"] |= {"name": evil, "version": evil}
    llama.quant_config["quantization"] |= {
        "quant_algo": evil,
        "kv_cache_quant_algo": evil,
        "exclude_modules": [evil, evil, "lm_head"],
    }
    for name in (evil, f"{evil}.weight", f"{evil}.weight_scale_2", "weight_scale_2", f"a{evil}.k_proj.k_scale"):
        llama.tensors[name] = ("F32", np.zeros((), "<f4"))
    found = inspect_source(str(llama.write(tmp_path / "m")), deep=True)
    lines = to_text(found).split("\n")
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) < 1100
    assert not any(line.startswith("error   fake") for line in lines)
    assert all(finding.where.isprintable() for finding in found.findings)
