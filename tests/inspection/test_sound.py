"""Sound checkpoints of every kind have no finding above info."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.inspection.variants import GPT_OSS, LLAMA, QWEN3_MOE, Variant, made
from toolkit.inspection import Inspection, inspect_source
from toolkit.models.layout import Layout

BOTH = {"packed-attention", "unlisted-unquantised"}


def found(folder: Path) -> set[tuple[str, str]]:
    return {(finding.severity, finding.id) for finding in inspect_source(str(folder), deep=True).findings}


def info(*ids: str) -> set[tuple[str, str]]:
    return {("info", each) for each in ids}


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("tiny-gpt-oss-bf16", {"missing-tokenizer"}),
        ("tiny-gpt-oss-nvfp4-modelopt-0.37", {"missing-tokenizer", *BOTH}),
        ("tiny-gpt-oss-nvfp4-sharded-modelopt-0.37", {"missing-tokenizer", *BOTH}),
        ("tiny-gpt-oss-nvfp4-mlponly-modelopt-0.37", {"missing-tokenizer", "unlisted-unquantised"}),
        ("tiny-llama-bf16", {"missing-tokenizer"}),
        ("tiny-llama-nvfp4-modelopt-0.37", {"missing-tokenizer", "unlisted-unquantised"}),
    ],
)
def test_exports_of_the_real_modelopt(shared_fixtures: Path, name: str, ids: set[str]) -> None:
    assert found(shared_fixtures / name) == info(*ids)


def test_the_samples(sample: Path) -> None:
    assert found(sample) == info(*BOTH)
    assert found(sample.parent / "bf16") == set()


def test_what_modelopt_0_45_lists(shared_fixtures: Path, tmp_path: Path) -> None:
    variant = Variant.of(shared_fixtures / "tiny-gpt-oss-nvfp4-modelopt-0.37")
    variant.set_version("0.47.0")
    variant.set_excludes(["lm_head", "model.embed_tokens", "model.layers.0.mlp.router", "model.layers.1.mlp.router"])
    assert found(variant.write(tmp_path / "m")) == info("packed-attention")


def test_qwen3_moe(tmp_path: Path) -> None:
    excludes = ["lm_head", "model.layers.0.mlp.gate", "model.layers.1.mlp.gate"]
    variant = made(QWEN3_MOE, Layout("nvfp4", "nvfp4"), quant_algo="NVFP4", group_size=16, exclude_modules=excludes)
    assert found(variant.write(tmp_path / "m")) == info("unlisted-unquantised")


def test_fp8(tmp_path: Path) -> None:
    variant = made(LLAMA, Layout("fp8", "fp8"), quant_algo="FP8", exclude_modules=["lm_head"])
    assert found(variant.write(tmp_path / "m")) == set()


def test_mxfp4_of_openai(tmp_path: Path) -> None:
    variant = made(GPT_OSS, Layout("bf16", "mxfp4"))
    excludes = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    variant.config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": excludes}
    assert found(variant.write(tmp_path / "m")) == set()


def test_weight_only_has_no_input_scales(tmp_path: Path) -> None:
    excludes = ["lm_head", "model.embed_tokens"]
    variant = made(LLAMA, Layout("nvfp4", "nvfp4"), quant_algo="W4A16_NVFP4", exclude_modules=excludes)
    for name in [name for name in variant.tensors if name.endswith("input_scale")]:
        del variant.tensors[name]
    assert found(variant.write(tmp_path / "m")) == set()


LISTED = {"unlisted-unquantised"}


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("llama-nvfp4-kvfp8", LISTED),
        ("llama-nvfp4-kvnvfp4", LISTED),
        ("llama-nvfp4-kvaffine", LISTED | {"not-compared"}),
        ("qwen3moe-nvfp4", LISTED),
        ("llama-mixed", set()),
        ("llama-fp8", set()),
        ("llama-fp8-pb-wo", {"not-compared"}),
        ("llama-fp8-pc-pt", {"not-compared"}),
        ("llama-int4-awq", {"not-compared"}),
        ("llama-int8-sq", {"not-compared"}),
        ("llama-w4a8-awq", {"not-compared"}),
        ("llama-w4a8-mxfp4-fp8", {"not-compared"}),
        ("llama-w4a8-nvfp4-fp8", LISTED | {"not-compared"}),
    ],
)
def test_every_algorithm_of_modelopt(tmp_path: Path, name: str, ids: set[str]) -> None:
    folder = Variant.of_export(name).write(tmp_path / "m")
    assert found(folder) == info(*ids)
    assert inspect_source(str(folder)).parameters == (57_856 if "qwen" in name else 164_224)


def test_nvfp4_awq(tmp_path: Path) -> None:
    """ModelOpt 0.37 cannot search its scales on a CPU; the export adds one tensor to a module (``quant_utils.py``)."""
    variant = Variant.of_export("llama-nvfp4-kvfp8")
    variant.set_algorithm("NVFP4_AWQ")
    variant.tensors["model.layers.0.mlp.down_proj.pre_quant_scale"] = ("BF16", np.zeros(256, "<u2"))
    assert found(variant.write(tmp_path / "m")) == info("not-compared", *LISTED)


def test_fp8_in_blocks(tmp_path: Path) -> None:
    """As Qwen and DeepSeek publish it: transformers' ``FineGrainedFP8Config``, no activation scales."""
    variant = made(LLAMA, Layout("fp8", "fp8"))
    for name in [name for name in variant.tensors if name.endswith("scale")]:
        scale = variant.tensors.pop(name)
        if name.endswith("weight_scale"):
            variant.tensors[f"{name}_inv"] = (scale[0], np.ones((1, 1), "<f4"))
    variant.config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    assert found(variant.write(tmp_path / "m")) == info("not-compared")


def test_a_method_of_another_producer(tmp_path: Path) -> None:
    variant = made(LLAMA, Layout("bf16", "bf16"))
    down = "model.layers.0.mlp.down_proj.weight"
    variant.tensors[down] = ("U8", np.zeros((3072, 1), np.uint8))
    variant.tensors[f"{down}.absmax"] = ("F32", np.ones(96, "<f4"))
    variant.config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    assert found(variant.write(tmp_path / "m")) == info("not-compared", "unknown-format")


@pytest.mark.parametrize("name", ["rotary", "head"])
def test_a_tensor_that_is_redundant(shared_fixtures: Path, tmp_path: Path, name: str) -> None:
    variant = Variant.of(shared_fixtures / "tiny-llama-bf16")
    if name == "head":
        variant.config["tie_word_embeddings"] = True
    else:
        variant.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = ("F32", np.ones(16, "<f4"))
    assert found(variant.write(tmp_path / "m")) == info("redundant-tensor")


def test_scales_of_mxfp4_with_a_dtype_of_their_own(tmp_path: Path) -> None:
    variant = made(GPT_OSS, Layout("bf16", "mxfp4"))
    for name in [name for name in variant.tensors if name.endswith("_scales")]:
        variant.tensors[name] = ("F8_E8M0", variant.tensors[name][1])
    variant.config["architectures"] = ["MadeUpForCausalLM"]
    variant.config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    assert found(variant.write(tmp_path / "m")) == info("unknown-architecture")


def test_parameters_are_those_of_the_source(shared_fixtures: Path) -> None:
    def counted(name: str) -> int:
        inspection: Inspection = inspect_source(str(shared_fixtures / name))
        return inspection.parameters

    assert counted("tiny-gpt-oss-bf16") == counted("tiny-gpt-oss-nvfp4-modelopt-0.37") == 265_680
    assert counted("tiny-llama-bf16") == counted("tiny-llama-nvfp4-modelopt-0.37") == 151_872
