"""Predicted checkpoints against figures that do not come from this code."""

from __future__ import annotations

import json

import pytest

from toolkit.checkpoint.census import Census
from toolkit.checkpoint.header import layout
from toolkit.models.known import KNOWN, predicted_census
from toolkit.models.layout import Layout
from toolkit.models.registry import FAMILIES


def predicted(repo: str) -> Census:
    census = predicted_census(repo)
    assert census is not None
    return census


def test_the_repositories() -> None:
    assert set(KNOWN) == {
        "Firworks/gpt-oss-120b-nvfp4",
        "openai/gpt-oss-120b",
        "openai/gpt-oss-20b",
        "nvidia/Llama-3.1-8B-Instruct-FP4",
        "nvidia/Llama-3.1-8B-Instruct-NVFP4",
        "nvidia/Qwen3-30B-A3B-FP4",
        "nvidia/Qwen3-30B-A3B-NVFP4",
    }
    assert predicted_census("nobody/knows") is None


@pytest.mark.parametrize(
    ("repo", "tensors", "nbytes"),
    [
        # computed with the Hugging Face splitter from a state dict of that geometry
        ("Firworks/gpt-oss-120b-nvfp4", 1263, 67_458_445_632),
        # metadata.total_size of model.safetensors.index.json, and the number of its entries for 20b
        ("openai/gpt-oss-120b", None, 65_248_815_744),
        ("openai/gpt-oss-20b", 459, 13_761_264_768),
        # keys of the published index
        ("nvidia/Qwen3-30B-A3B-NVFP4", 74_835, None),
    ],
)
def test_tensors_and_bytes(repo: str, tensors: int | None, nbytes: int | None) -> None:
    census = predicted(repo)
    assert tensors in (None, len(census.tensors))
    assert nbytes in (None, sum(info.nbytes for info in census.tensors.values()))
    assert sum(census.shards.values()) == sum(info.nbytes for info in census.tensors.values())


def test_120b_after_its_attention_is_bf16() -> None:
    family = FAMILIES["GptOssForCausalLM"]
    geometry = family.geometry(KNOWN["Firworks/gpt-oss-120b-nvfp4"].config, "")
    _, infos = layout(
        "x", [(name, *spec) for name, spec in family.tensors(geometry, Layout("bf16", "nvfp4")).items()], {}
    )
    assert (len(infos), sum(info.nbytes for info in infos.values())) == (831, 68_831_997_120)


def test_llama_is_the_published_files_to_the_byte() -> None:
    """The two files of nvidia/Llama-3.1-8B-Instruct-FP4 have 6,027,861,376 bytes, headers included.

    Cut as transformers cuts: in the model's order, a new file before 5 GB are passed; in each file by dtype, then name.
    """
    census = predicted("nvidia/Llama-3.1-8B-Instruct-FP4")
    outer = ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
    inner = [name for name in census.tensors if name not in outer]
    order = [outer[0], *sorted(inner, key=lambda name: int(name.split(".")[2])), *outer[1:]]
    files: list[list[str]] = [[]]
    for name in order:
        if sum(census.tensors[other].nbytes for other in (*files[-1], name)) > 5_000_000_000:
            files.append([])
        files[-1].append(name)
    rank = ("F32", "BF16", "F8_E4M3", "U8")
    total = 0
    for names in files:
        infos = sorted((census.tensors[name] for name in names), key=lambda info: (rank.index(info.dtype), info.name))
        head, _ = layout("x", [(info.name, info.dtype, info.shape) for info in infos], {"format": "pt"})
        total += len(head) + sum(info.nbytes for info in infos)
    assert (len(files), total) == (2, 6_027_861_376)


def test_tensors_of_qwen3_as_its_headers_have_them() -> None:
    tensors = predicted("nvidia/Qwen3-30B-A3B-FP4").tensors
    seen = {
        "model.layers.0.self_attn.k_proj.weight": ("U8", (512, 1024)),
        "model.layers.0.self_attn.k_proj.weight_scale": ("F8_E4M3", (512, 128)),
        "model.layers.0.mlp.experts.0.gate_proj.weight": ("U8", (768, 1024)),
        "model.layers.0.mlp.experts.0.gate_proj.weight_scale": ("F8_E4M3", (768, 128)),
        "model.layers.0.mlp.experts.0.down_proj.weight": ("U8", (2048, 384)),
        "model.layers.0.mlp.experts.0.down_proj.weight_scale": ("F8_E4M3", (2048, 48)),
        "model.layers.0.mlp.experts.0.down_proj.input_scale": ("F32", ()),
    }
    assert {name: (tensors[name].dtype, tensors[name].shape) for name in seen} == seen


@pytest.mark.parametrize("repo", KNOWN)
def test_a_prediction_is_a_checkpoint_like_any_other(repo: str) -> None:
    census = predicted(repo)
    family = FAMILIES[census.architecture]
    assert (
        family.match(census.tensors, family.geometry(census.config, census.where), census.where) == KNOWN[repo].layout
    )
    assert census.where == f"hub:{repo}"
    assert json.loads(json.dumps(dict(census.config))) == census.config


@pytest.mark.parametrize(
    ("repo", "algo", "kv", "version", "excluded"),
    [
        ("Firworks/gpt-oss-120b-nvfp4", "NVFP4", None, "0.37.0", 1),
        ("openai/gpt-oss-20b", "mxfp4", None, None, 4),
        ("nvidia/Llama-3.1-8B-Instruct-NVFP4", "NVFP4", "FP8", None, 1),
        ("nvidia/Qwen3-30B-A3B-NVFP4", "NVFP4", "FP8", "0.33.0", 49),
    ],
)
def test_quantisation(repo: str, algo: str, kv: str | None, version: str | None, excluded: int) -> None:
    quant = predicted(repo).quant
    assert quant is not None
    assert (quant.algo, quant.kv_cache_algo, quant.version, len(quant.exclude_modules)) == (algo, kv, version, excluded)
    assert ("hf_quant_config.json" in predicted(repo).files) is (algo == "NVFP4")
